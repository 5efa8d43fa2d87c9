"""What a token of each pass weighs in the gradient of a step: whether accumulated batches count by their tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from firstfault.probe.record import TokensSeen
from firstfault.training.losses import IGNORED, OF_CLASSES

UNEQUAL = 1.25
"""Of the tokens of the passes of one step, the largest number over the smallest: less is no difference to tell."""
SAME = 0.01
"""Relative: losses of float32 give a weight to within 1e-5, of bfloat16 to within 4e-3."""


class PassWeights:
    """Follows, on sampled steps, each loss of tokens to the backward pass that learns from it."""

    def __init__(self, seen: TokensSeen) -> None:
        self._seen = seen
        self._asked: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._passes: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        self._whole = True

    def asked(self, name: str, given: Mapping[str, Any], value: Any) -> None:
        """A loss of classes was asked of tokens, with gradients on."""
        target = given.get("target")
        weighted = given.get("weight") is not None
        if weighted or name not in OF_CLASSES or not isinstance(target, torch.Tensor) or target.is_floating_point():
            self._whole = False
            return
        ignored, reduction = given.get("ignore_index", IGNORED), given.get("reduction", "mean")
        count = (target.detach() != ignored).sum()
        total = value.detach().double().sum() * (count if reduction == "mean" else 1)
        self._asked.append((count, total))

    def learnt(self, loss: torch.Tensor) -> None:
        """A backward pass begins with this loss."""
        asked, self._asked = self._asked, []
        if len(asked) != 1 or loss.numel() != 1:
            self._whole = False
            return
        self._passes.append((*asked[0], loss.detach().double()))

    def end_round(self, step: int) -> None:
        """The step is done: note its loss a token, and how it weighs its passes."""
        passes, whole = self._passes, self._whole
        self._passes, self._asked, self._whole = [], [], True
        if not passes:
            return
        known = torch.tensor([[float(value) for value in each] for each in passes], dtype=torch.float64)
        counts, totals, losses = known[(known[:, 0] > 0) & known.isfinite().all(1) & (known[:, 1] > 0)].T
        if not len(counts):
            return
        self._seen.loss.add(step, float(totals.sum() / counts.sum()))
        if whole and len(counts) > 1 and float(counts.max() / counts.min()) >= UNEQUAL:
            self._note(counts, losses / totals)

    def _note(self, counts: torch.Tensor, weights: torch.Tensor) -> None:
        """One step whose passes ask for unequal numbers of tokens, and what a token of each weighs."""
        self._seen.rounds += 1
        if _alike(weights * counts) and not _alike(weights):
            self._seen.by_batch += 1
            self._seen.heaviest = max(self._seen.heaviest, float(weights.max() / weights.min()))


def _alike(values: torch.Tensor) -> bool:
    return bool((values - values.mean()).abs().max() <= SAME * values.mean().abs())
