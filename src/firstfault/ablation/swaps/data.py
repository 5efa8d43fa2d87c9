"""Known-good data: without missing values, with balanced classes, split anew, and labels that can be learnt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from firstfault.ablation.swap import Size, swap
from firstfault.errors import Missing
from firstfault.subject.subject import Subject
from firstfault.training.recipe import Recipe, Tensors

PARTS = 4
"""Parts a side: labels made of 16 means of an image are simple enough for small networks. A choice of ours."""
MOVED_SHARE = 0.25
"""The share of labels that must move between classes for two splits to be told apart: far beyond what chance does."""


@swap(
    change="impute missing inputs by the column's mean",
    undoes=("missing_values", "nonfinite_output"),
    same_validation=True,
)
def imputed(subject: Subject) -> Recipe:
    """NaN and infinity in the prepared inputs become the column's mean over train."""
    recipe = subject.recipe
    x = recipe.train.x
    if not x.is_floating_point() or all(torch.isfinite(part.x).all() for part in (recipe.train, recipe.validation)):
        raise Missing("no prepared input is missing")
    finite = torch.where(torch.isfinite(x), x, torch.full_like(x, torch.nan))
    mean = finite.nanmean(0, keepdim=True).nan_to_num(0.0)
    parts = {
        name: Tensors(torch.where(torch.isfinite(part.x), part.x, mean.expand_as(part.x)), part.y)
        for name, part in (("train", recipe.train), ("validation", recipe.validation), ("test", recipe.test))
    }
    return recipe.with_parts(**parts)


@swap(change="balance the classes of train by repetition", undoes=("class_imbalance",), same_validation=True)
def balanced(subject: Subject) -> Recipe:
    """Rare classes repeated to the size of the largest; judged by balanced accuracy, or AUC if that is the metric."""
    recipe = subject.recipe
    if recipe.task != "classification":
        raise Missing("the task has no classes")
    y = recipe.train.y
    counts = torch.bincount(y, minlength=recipe.classes)
    generator = torch.Generator().manual_seed(recipe.training.seed)
    rows = torch.cat(
        [
            torch.nonzero(y == label).flatten()[torch.randint(int(count), (int(counts.max()),), generator=generator)]
            for label, count in enumerate(counts)
            if count > 0
        ]
    )
    balanced_train = recipe.train.rows(rows[torch.randperm(len(rows), generator=generator)])
    metric = "auc" if recipe.training.metric == "auc" else "balanced_accuracy"
    return replace(recipe, train=balanced_train).with_training(metric=metric)


@swap(change="clean separable labels on the same inputs", undoes=("random_labels",), from_guessing=True)
def clean_labels(subject: Subject) -> Recipe:
    """Labels that a linear model on the same inputs gets right: what learns them has a sound model and training."""
    recipe = subject.recipe
    if recipe.task == "language_model":
        raise Missing("the labels of a language model are its inputs")
    answers = _teacher(recipe)
    parts = {name: Tensors(part.x, _in_shape(answers(part.x), part.y)) for name, part in _parts(recipe)}
    return recipe.with_parts(**parts)


def _parts(recipe: Recipe) -> list[tuple[str, Tensors]]:
    return [("train", recipe.train), ("validation", recipe.validation), ("test", recipe.test)]


def _teacher(recipe: Recipe) -> Callable[[torch.Tensor], torch.Tensor]:
    """Random linear functions of the standardised inputs: the largest of them, their signs, or their values."""
    x, y = recipe.train.x, recipe.train.y
    features = _counts(x) if not x.is_floating_point() else _standardised(x)
    outputs = max(recipe.classes, 2) if recipe.task == "classification" else max(1, y[:1].numel())
    example = features(x)
    weights = (
        torch.randn(example.shape[1], outputs, generator=torch.Generator().manual_seed(recipe.training.seed))
        / example.shape[1] ** 0.5
    )
    centre = (example @ weights).mean(0)

    def answers(part: torch.Tensor) -> torch.Tensor:
        values = features(part) @ weights - centre
        if recipe.task == "classification":
            return values.argmax(1)
        return (values > 0).float() if recipe.task == "multilabel" else values

    return answers


def _standardised(x: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    flat = _coarse(x)
    mean, deviation = flat.mean(0), flat.std(0)
    deviation = torch.where(deviation > 1e-12, deviation, torch.ones_like(deviation))
    return lambda part: (_coarse(part) - mean) / deviation


def _coarse(x: torch.Tensor) -> torch.Tensor:
    """Inputs `(N, D)`; of images and sequences the means of at most 4 parts a side, which any network can learn."""
    x = torch.nan_to_num(x).float()
    if x.ndim == 4:
        x = torch.nn.functional.adaptive_avg_pool2d(x, (min(PARTS, x.shape[2]), min(PARTS, x.shape[3])))
    elif x.ndim == 3:
        x = torch.nn.functional.adaptive_avg_pool1d(x.transpose(1, 2), min(PARTS, x.shape[1]))
    return x.flatten(1) if x.ndim > 1 else x[:, None]


def _counts(x: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """How often each token id (modulo 64) occurs in a sample."""
    return lambda part: torch.nn.functional.one_hot(part.flatten(1).long() % 64, 64).sum(1).float()


def _in_shape(answers: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return answers.reshape(y.shape).to(y.dtype)


@swap(change="the rows split anew at random", undoes=("degenerate_split",), size=Size.SETTING)
def split_anew(subject: Subject) -> Recipe:
    """Train, validation and test pooled and drawn anew, where the classes' shares differ between them."""
    recipe = subject.recipe
    declared = subject.target.data
    if recipe.task != "classification" or (declared is not None and (declared.group or declared.time)):
        raise Missing("rows are split anew only for classes, and not where groups or times must stay apart")
    parts = [part for _, part in _parts(recipe)]
    shares = [torch.bincount(part.y, minlength=recipe.classes)[: recipe.classes] / max(len(part), 1) for part in parts]
    if max(float((share - shares[0]).abs().sum()) / 2 for share in shares) < MOVED_SHARE:
        raise Missing("the classes are shared out alike already")
    pool = Tensors(torch.cat([part.x for part in parts]), torch.cat([part.y for part in parts]))
    order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(recipe.training.seed))
    pieces = torch.split(order, [len(part) for part in parts])
    return recipe.with_parts(
        **{name: pool.rows(piece) for (name, _), piece in zip(_parts(recipe), pieces, strict=True)}
    )
