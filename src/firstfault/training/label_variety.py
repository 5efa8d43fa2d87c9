"""What a batch of labels holds of the variety of all: little where the batches are those of sorted labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from firstfault.training.recipe import Recipe

WITHIN = 0.5
"""Rows at random hold 0.97 and more; of 400 rows sorted by ten classes, batches of 16 hold 0.11, those of 128 0.45."""


def variety_within(batches: Sequence[torch.Tensor], recipe: Recipe) -> float | None:
    """What a batch of labels holds of the variety that as large ones drawn at random hold; None where they have none.

    About 1 for batches that were drawn at random, of any size: it is asked of the same labels in another order, by the
    recipe's seed.
    """
    labels = torch.cat(list(batches))
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(recipe.training.seed))
    held = _held(batches, recipe)
    drawn = _held(torch.split(labels[order.to(labels.device)], [len(part) for part in batches]), recipe)
    if held is None or drawn is None or not bool((drawn > 0).any()):
        return None
    shares = (held / drawn)[drawn > 0]
    return float(shares.min() if recipe.task == "multilabel" else shares.mean())


def _held(batches: Sequence[torch.Tensor], recipe: Recipe) -> torch.Tensor | None:
    """The mean variety `(columns,)` of batches of more than one label; None where there are none."""
    parts = [_variety(part, recipe) for part in batches if len(part) > 1]
    return torch.stack(parts).mean(0) if parts else None


def _variety(y: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    """The variety `(columns,)` of some labels."""
    if recipe.task != "classification":
        return y.float().reshape(len(y), -1).var(0, unbiased=False)
    share = torch.bincount(y, minlength=recipe.classes).float() / len(y)
    return -(share[share > 0] * share[share > 0].log()).sum().reshape(1)
