"""The evidence, request after request: when it passes its bound, since when, and when it has gone.

The evidence of one bet is the Shiryaev–Roberts sum R ← (R + 1) L: that of the bet begun at any request so far. While
serving is as usual, its mean grows by 1 with each request, so that the weighted mean of all bets reaches 1/alpha after
1/alpha requests on the average, at the earliest, however often anybody looks: an e-detector.

Source: Shin, Ramdas & Rinaldo, E-detectors: a nonparametric framework for sequential change detection (2024).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from firstfault.metrics import Array

BLOCK = 8
"""Requests whose factors are multiplied before they are added: bets begin at the first of a block."""
LARGEST = 1e200
"""Far beyond any bound, and far from the end of the numbers."""


class Block(NamedTuple):
    """What `BLOCK` requests, or the last few, say together.

    Attributes:
        began: the time of the first.
        total: the sum of the logarithms of each bet's factors `(M,)`.
        counts: how many of the requests each bet says something of `(M,)`.
        factor: the product of the factors `(M,)`.
    """

    began: float
    total: Array
    counts: Array
    factor: Array


def blocks_of(log: Array, times: Array) -> Iterator[Block]:
    """The blocks of requests: logarithms of factors `(N, M)`, NaN where a bet says nothing, and times `(N,)`."""
    known = ~np.isnan(log)
    totals, counts = _by_block(np.where(known, log, 0.0)), _by_block(known)
    factors = np.exp(np.clip(totals, -460, 460))
    return map(Block, times[::BLOCK].tolist(), totals, counts, factors)


def _by_block(values: Array) -> Array:
    """The sums of values `(N, M)` over each block, the last of which may be short."""
    blocks = -(-len(values) // BLOCK)
    whole = np.zeros((blocks * BLOCK, values.shape[1]), dtype=values.dtype)
    whole[: len(values)] = values
    return np.asarray(whole.reshape(blocks, BLOCK, values.shape[1]).sum(1))


@dataclass
class Ledger:
    """The evidence of M bets.

    Attributes:
        weights: of the bets `(M,)`; they sum to 1 at most.
        slack: the logarithms of what their factors were divided by `(M,)`.
        sums: R of each.
        best: the logarithm of the largest product over the last requests, from any beginning.
        back: the same of the inverse factors: the evidence that serving is as usual again.
        since: the time of the beginning of `best`.
    """

    weights: Array
    slack: Array
    sums: Array = field(init=False)
    best: Array = field(init=False)
    back: Array = field(init=False)
    since: Array = field(init=False)

    def __post_init__(self) -> None:
        count = len(self.weights)
        self.sums, self.best, self.back, self.since = (np.zeros(count) for _ in range(4))

    def add(self, block: Block) -> None:
        """Take the factors of one block."""
        begins = (self.best <= 0) & (block.counts > 0)
        self.since[begins] = block.began
        self.best = np.maximum(self.best, 0.0) + block.total
        self.back = np.maximum(self.back, 0.0) - block.total - block.counts * self.slack
        self.sums = np.minimum((self.sums + block.counts) * block.factor, LARGEST)

    def evidence(self) -> float:
        """The evidence of all bets together."""
        return float(self.weights @ self.sums)

    def forget(self, bets: Array | slice) -> None:
        """Begin some bets anew."""
        for values in (self.sums, self.best, self.back, self.since):
            values[bets] = 0.0

    def state(self) -> dict[str, Any]:
        """What is known so far, as JSON values."""
        return {name: getattr(self, name).tolist() for name in ("sums", "best", "back", "since")}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what was known."""
        for name, values in state.items():
            setattr(self, name, np.asarray(values, dtype=float))
