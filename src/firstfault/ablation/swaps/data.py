"""Known-good data: without missing values, conflicts and suspicious labels, with balanced classes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from firstfault.ablation.swap import swap
from firstfault.errors import Missing
from firstfault.recipe import Recipe, Tensors


@swap(change="impute missing inputs by the column's mean", undoes=("missing_values", "nonfinite_output"), same_validation=True)
def imputed(subject: Any) -> Recipe:
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
    return replace(recipe, **parts)


@swap(change="balance the classes of train by repetition", undoes=("class_imbalance",), same_validation=True)
def balanced(subject: Any) -> Recipe:
    """Rare classes repeated to the size of the largest; judged by balanced accuracy."""
    recipe = subject.recipe
    if recipe.task != "classification":
        raise Missing("the task has no classes")
    y = recipe.train.y
    counts = torch.bincount(y, minlength=recipe.classes)
    generator = torch.Generator().manual_seed(recipe.training.seed)
    rows = torch.cat([
        torch.nonzero(y == label).flatten()[torch.randint(int(count), (int(counts.max()),), generator=generator)]
        for label, count in enumerate(counts) if count > 0
    ])
    balanced_train = recipe.train.rows(rows[torch.randperm(len(rows), generator=generator)])
    return replace(recipe, train=balanced_train).with_training(metric="balanced_accuracy")
