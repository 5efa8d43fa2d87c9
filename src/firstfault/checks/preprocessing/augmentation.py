"""Does augmentation leave in the inputs what the labels depend on?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from firstfault.check import Judgement, check, skipped
from firstfault.errors import Missing, UserCodeError
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.rerun import fixed_seeds, flat, unmatched
from firstfault.subject.subject import Subject
from firstfault.training.batches import UserBatches, is_pair
from firstfault.training.recipe import Recipe, Tensors
from firstfault.training.tree_calls import trees_of

MOST_ROWS = 1_500  # bounds the time of the fits: a score of so many rows errs by about 1 %
PASSES = 2  # as an epoch and the next: the models see more than one draw of a row


@check(layer=Layer.PREPROCESSING, needs={"recipe", "model"}, detects={"destructive_augmentation": 0.7})
def destructive_augmentation(
    subject: Subject, *, worse: float = 0.15, of_gain: float = 0.25, learnable: float = 0.1
) -> Iterator[Judgement]:
    """Find augmentation that destroys the label: simple models that learn from augmented inputs fail on plain ones.

    Measures: what is lost of the gain over guessing, 0–1, by the better of a linear model and a forest. They are fitted
        to plain rows, and to two augmented passes over the same rows, and scored on plain validation rows.
    Fails when: the score falls by more than `worse`, and more than `of_gain` of the gain is gone. A swap has to confirm
        it.
    Not a fault when: plain rows teach these models less than `learnable`: nothing is judged.
    Source: TheDeepChecker, augmented data must stay alike; scored by learning here, as a flip moves every pixel.
        benchmarks/localise.py, fault destructive_augmentation, adds noise of 12 deviations.
    """
    recipe = subject.recipe
    if recipe.training.augment is None and recipe.training.loader is None:
        yield skipped("nothing is augmented")
        return
    if recipe.task not in ("classification", "regression") or recipe.train.y.ndim != 1:
        yield skipped("only one label per sample is judged")
        return
    if trees_of(recipe.model) is not None:
        yield skipped("only inputs of one tensor are judged, and these are a tree of them")
        return
    train, held = (
        loaded(recipe, part.rows(slice(MOST_ROWS)), "validation") for part in (recipe.train, recipe.validation)
    )
    plain = recipe.inputs_for(subject.model, train.x)
    augmented = [_augmented(subject, number) for number in range(PASSES)]
    if any(not len(part) or part.x[0].numel() != plain[0].numel() or part.y.ndim != 1 for part in augmented):
        yield skipped("augmented inputs have another shape, or labels of another kind")
        return
    if recipe.training.augment is None and alike(augmented[0].x, train.x):
        yield skipped("the loader augments nothing")
        return
    place = "training.augment" if recipe.training.augment else "training.loader"
    test = _features(held.x), held.y.numpy()
    floor = _guess(recipe.task, test[1])
    before = _best(recipe.task, _features(plain), train.y.numpy(), *test)
    answers = np.concatenate([part.y.cpu().numpy() for part in augmented])
    after = _best(recipe.task, np.concatenate([_features(part.x) for part in augmented]), answers, *test)
    if before - floor < learnable:
        yield skipped("simple models learn too little from these inputs to tell")
        return
    gone = (before - max(after, floor)) / (before - floor)
    bad = before - after > worse and gone > of_gain
    yield Judgement(
        Status.FAIL if bad else Status.PASS,
        f"a simple model scores {after:.2f} on plain rows after learning from augmented ones, and {before:.2f} without",
        value=gone,
        threshold=of_gain,
        where=Place.setting(place) if bad else None,
        fix="weaken or drop the augmentation" if bad else None,
    )


def _augmented(subject: Subject, seed: int) -> Tensors:
    """Training rows as the loop gives them to the model: through the user's loader, and augmented."""
    recipe, augment = subject.recipe, subject.recipe.training.augment
    with fixed_seeds(seed), torch.no_grad():
        rows = loaded(recipe, recipe.train.rows(slice(MOST_ROWS)), "train")
        x = recipe.inputs_for(subject.model, rows.x)
        try:
            x = (
                torch.cat([augment(batch) for batch in torch.split(x.clone(), recipe.training.batch_size)])
                if augment
                else x
            )
        except Exception as error:
            raise UserCodeError(Layer.TRAINING, "training.augment", error, recipe.root) from error
    return Tensors(x, rows.y)


def loaded(recipe: Recipe, rows: Tensors, split: str) -> Tensors:
    """Rows as the user's loader gives them on the path of a split; as they are where there is no loader.

    Raises:
        Missing: when its batches are no pairs of one shape, or it refuses a part of the rows.
    """
    if recipe.training.loader is None:
        return rows
    try:
        pairs = [batch for batch in UserBatches(recipe, rows, split) if is_pair(batch)]
    except UserCodeError as refused:
        raise Missing(f"the loader refuses a part of the rows: {refused}") from refused
    if not pairs or any(
        part.shape[1:] != first.shape[1:] for pair in pairs for part, first in zip(pair, pairs[0], strict=True)
    ):
        raise Missing("the loader's batches are no pairs (x, y) of one shape")
    return Tensors(torch.cat([x for x, _ in pairs]), torch.cat([y for _, y in pairs]))


def alike(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two sets of rows are the same but for their order."""
    return a.shape == b.shape and unmatched(flat(a), flat(b)) < 0.01


def _features(x: torch.Tensor) -> Any:
    """Flat values `(N, D)`; whole-number sequences as counts of each token."""
    values = x.detach().flatten(1).cpu()
    if values.is_floating_point():
        return np.nan_to_num(values.double().numpy(), posinf=0.0, neginf=0.0)
    width = min(int(values.max()) + 1, 2000)
    return np.stack([np.bincount(row.clamp(0, width - 1), minlength=width) for row in values]).astype(float)


def _guess(task: str, y: Any) -> float:
    return float(np.unique(y, return_counts=True)[1].max() / len(y)) if task == "classification" else 0.0


def _best(task: str, X: Any, y: Any, held_X: Any, held_y: Any) -> float:
    """The better score (accuracy or R²) of a linear model and a forest."""
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
    from sklearn.linear_model import Ridge, RidgeClassifier

    if X.shape[1] != held_X.shape[1]:
        width = max(X.shape[1], held_X.shape[1])
        X, held_X = (np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in (X, held_X))
    forest, linear = (
        (RandomForestClassifier, RidgeClassifier) if task == "classification" else (RandomForestRegressor, Ridge)
    )
    models = (forest(40, max_features="sqrt", random_state=0), linear(alpha=1.0))
    return max(float(model.fit(X, y).score(held_X, held_y)) for model in models)
