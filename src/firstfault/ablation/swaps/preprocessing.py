"""Known-good preparation: standardised inputs, aligned labels, one path for every split."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from firstfault.ablation.swap import swap
from firstfault.errors import Missing
from firstfault.recipe import Recipe, Tensors


@swap(change="standardise the inputs", undoes=("missing_normalisation", "double_normalisation"))
def standardised_inputs(subject: Any) -> Recipe:
    """Inputs with mean 0 and deviation 1 per column (per channel for images), fitted on train."""
    recipe = subject.recipe
    if not recipe.train.x.is_floating_point() and recipe.inputs_for(subject.model, recipe.train.x[:1]).dtype == torch.int64:
        raise Missing("token ids have no scale")
    x = recipe.train.x.float()
    axes = [axis for axis in range(x.ndim) if axis != 1] if x.ndim > 2 else [0]
    mean = x.nanmean(axes, keepdim=True)
    deviation = (x - mean).pow(2).nanmean(axes, keepdim=True).sqrt()
    deviation = torch.where(deviation > 1e-12, deviation, torch.ones_like(deviation))
    parts = {
        name: Tensors((part.x.float() - mean) / deviation, part.y)
        for name, part in (("train", recipe.train), ("validation", recipe.validation), ("test", recipe.test))
    }
    return replace(recipe, **parts)


@swap(change="standardise the target", undoes=("target_not_scaled",))
def standardised_target(subject: Any) -> Recipe:
    """Regression labels with mean 0 and deviation 1, fitted on train; judged by R², which has no scale."""
    recipe = subject.recipe
    if recipe.task != "regression":
        raise Missing("the task is no regression")
    mean, deviation = recipe.train.y.mean(0, keepdim=True), recipe.train.y.std(0, keepdim=True).clamp_min(1e-12)
    parts = {
        name: Tensors(part.x, (part.y - mean) / deviation)
        for name, part in (("train", recipe.train), ("validation", recipe.validation), ("test", recipe.test))
    }
    return replace(recipe, **parts).with_training(metric="r2")


@swap(change="no augmentation", undoes=("destructive_augmentation",))
def no_augmentation(subject: Any) -> Recipe:
    """Training batches as they are."""
    if subject.recipe.training.augment is None:
        raise Missing("nothing is augmented")
    return subject.recipe.with_training(augment=None)  # type: ignore[no-any-return]


@swap(
    change="known-good preparation of the raw data",
    undoes=("misaligned_labels", "label_scaled", "inconsistent_transform", "batch_dependent_transform", "label_encoding_order"),
    same_validation=True,
)
def known_good_preparation(subject: Any) -> Recipe:
    """The raw splits, prepared so that inputs keep their labels: as they are, on the scale of the user's own.

    It applies where the user's preparation keeps the shape of a sample.
    """
    from firstfault.preparing import to_inputs
    from firstfault.recipe import make_recipe
    from firstfault.splits import Split, Splits

    recipe, raw = subject.recipe, subject.raw
    inputs = {}
    for name, split in raw.items():
        try:
            inputs[name] = to_inputs(split.X)
        except Exception as error:
            raise Missing(f"the raw inputs are no numbers: {error}") from error
    if inputs["train"].shape[1:] != recipe.train.x.shape[1:]:
        raise Missing("the preparation changes the shape of a sample")
    if not recipe.train.x.is_floating_point():
        splits = Splits(*(Split(inputs[name], split.y) for name, split in raw.items()))
    else:
        mean, deviation = inputs["train"].float().mean(), inputs["train"].float().std().clamp_min(1e-12)
        own_mean, own_deviation = recipe.train.x.mean(), recipe.train.x.std()
        splits = Splits(*(
            Split((inputs[name].float() - mean) / deviation * own_deviation + own_mean, split.y) for name, split in raw.items()
        ))
    return make_recipe(recipe.task, splits, recipe.model, recipe.training, recipe.root)[0]
