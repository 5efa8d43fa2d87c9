"""How alike two samples of numbers or of scores are, by the distance of Kolmogorov and Smirnov."""

from __future__ import annotations

import numpy as np

from firstfault.metrics import Array


def likeness(first: Array, second: Array) -> float:
    """How alike two samples of scores `(N, K)` and `(M, K)` are: 1 less the mean distance of Kolmogorov and Smirnov."""
    first, second = _whole(first), _whole(second)
    if not len(first) or not len(second) or first.shape[1] != second.shape[1]:
        return float("nan")
    return 1 - float(np.mean([distance(first[:, k], second[:, k]) for k in range(first.shape[1])]))


def distance(first: Array, second: Array) -> float:
    """The largest difference of two empirical distributions, 0–1."""
    everything = np.concatenate([first, second])
    one = np.searchsorted(np.sort(first), everything, side="right") / len(first)
    other = np.searchsorted(np.sort(second), everything, side="right") / len(second)
    return float(np.abs(one - other).max())


def _whole(scores: Array) -> Array:
    return scores[np.isfinite(scores).all(1)]
