"""How much the training favours rare classes, measured on the loss and the batches, however they are written."""

from __future__ import annotations

import torch

from firstfault.seeds import same_random_state
from firstfault.subject.subject import Subject
from firstfault.training.batches import UserBatches, is_pair

SEEN_ROWS = 5_000  # rows that go through the loader: some fifty of a class that holds a hundredth


def favour(subject: Subject) -> float:
    """How much more a row of the rarest class weighs than one of the commonest, by loss and batches; 1 if unknown."""
    try:
        counts = torch.bincount(subject.recipe.train.y)
        rare, common = int(torch.where(counts > 0, counts, counts.max() + 1).argmin()), int(counts.argmax())
        return _in_loss(subject, rare, common) * _in_batches(subject, rare, common)
    except Exception:  # code of a later layer that raises is told there
        return 1.0


def _in_loss(subject: Subject, rare: int, common: int) -> float:
    """The loss's gradient for a rare row over that for a common one, where the outputs favour no class."""
    loss = subject.training.loss
    if loss is None:
        return 1.0
    outputs = subject.outputs
    share = 0.5 if outputs[0].numel() == 1 else 1 / outputs.shape[-1]
    level = share if bool(((outputs >= 0) & (outputs <= 1)).all()) else 0.0
    even = torch.full_like(outputs[:2], level).requires_grad_()
    loss(even, torch.tensor([rare, common])).sum().backward()
    sizes = even.grad.flatten(1).norm(dim=1)  # type: ignore[union-attr]
    return float(sizes[0] / sizes[1])


def _in_batches(subject: Subject, rare: int, common: int) -> float:
    """How much larger the odds of the rare class are in the user's batches than in the rows that are put in."""
    recipe = subject.recipe
    if recipe.training.loader is None:
        return 1.0
    given = recipe.train.rows(torch.randperm(len(recipe.train), generator=torch.Generator().manual_seed(0))[:SEEN_ROWS])
    with same_random_state():
        drawn = torch.cat([batch[1] for batch in UserBatches(recipe, given, "train") if is_pair(batch)])
    before, after = (
        torch.bincount(y, minlength=max(rare, common) + 1).double().clamp_min(0.5) for y in (given.y, drawn)
    )
    return float(after[rare] / after[common] / (before[rare] / before[common]))
