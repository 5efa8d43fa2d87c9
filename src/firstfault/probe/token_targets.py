"""How far ahead the targets of a language model lie: by how many positions they are its own inputs, moved."""

from __future__ import annotations

from typing import Any

import torch

from firstfault.probe.record import Record
from firstfault.training.losses import IGNORED, OF_CLASSES
from firstfault.training.tensors import tensors_in

AHEAD = (1, 0, 2, 3, -1)
"""Positions, the usual one first: text that repeats itself lies at several."""
SAME = 0.98  # of the targets: a few are cut, or are pads
SHORTEST, FEWEST, MOST_ROWS = 4, 16, 64  # positions, targets, rows: of two kinds, 16 ids agree by chance once in 65,536


class TokenTargets:
    """Compares, on the sampled steps, the targets of losses of classes with the tokens that a model was given.

    The record's `targets_ahead` counts the calls by how many positions ahead the targets lay.
    """

    def __init__(self, record: Record) -> None:
        self._record = record
        self._tokens: list[torch.Tensor] = []

    def given(self, args: Any) -> None:
        """A model is called with gradients on."""
        found = [value.detach() for value in tensors_in(args) if is_tokens(value)]
        self._tokens = found or self._tokens

    def asked(self, name: str, target: Any, ignored: int) -> None:
        """A loss function was called with gradients on."""
        if name not in OF_CLASSES or not isinstance(target, torch.Tensor) or target.is_floating_point():
            return
        found = {
            ahead
            for tokens in self._tokens
            if (ahead := positions_ahead(tokens, target, ignored)) is not None
            and not (ahead in (0, 1) and self._are_labels(tokens))
        }
        if found:  # a decoder is given what comes before its answers, and beside it what it translates
            key = str(1 if 1 in found else min(found))
            self._record.targets_ahead[key] = self._record.targets_ahead.get(key, 0) + 1

    def _are_labels(self, tokens: torch.Tensor) -> bool:
        """Whether tokens that lead to the targets are other ones that the model reads, moved: labels in its call."""
        return any(other is not tokens and positions_ahead(other, tokens) == 1 for other in self._tokens)


def is_tokens(value: torch.Tensor) -> bool:
    """Whether a tensor may hold ids `(N, T)`."""
    whole = not (value.is_floating_point() or value.is_complex() or value.dtype == torch.bool)
    return whole and value.ndim == 2 and max(value.shape) >= SHORTEST and value.layout == torch.strided


def positions_ahead(tokens: torch.Tensor, target: torch.Tensor, ignored: int = IGNORED) -> int | None:
    """By how many positions targets are the tokens, moved; None where they are others.

    Tokens are `(N, T)` or `(T, N)`; targets as well, or flat, or shorter.
    """
    for tokens_, first in ((tokens, True), (tokens.T, False)):
        rows = len(tokens_)
        if rows == 0 or target.numel() % rows or not SHORTEST <= target.numel() // rows <= tokens_.shape[1]:
            continue
        wanted = target.reshape(rows, -1) if first else target.reshape(-1, rows).T
        shares = {ahead: _share(tokens_[:MOST_ROWS], wanted[:MOST_ROWS], ahead, ignored) for ahead in AHEAD}
        ahead = next((ahead for ahead, share in shares.items() if share >= SAME), None)
        if ahead is not None:
            return ahead
    return None


def _share(tokens: torch.Tensor, target: torch.Tensor, ahead: int, ignored: int) -> float:
    """The share of the targets that are the token so many positions later; 0 of too few, or of equal ones."""
    start, end = max(0, -ahead), min(target.shape[1], tokens.shape[1] - ahead)
    wanted, there = target[:, start:end], tokens[:, start + ahead : end + ahead]
    kept = wanted != ignored
    wanted, there = wanted[kept], there[kept]
    if len(wanted) < FEWEST or bool((wanted == wanted[0]).all()):
        return 0.0
    return float((wanted == there).float().mean())
