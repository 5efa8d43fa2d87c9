"""Answers beside each other: which are one answer told twice, which equal tensors got two, how scores correlate."""

from __future__ import annotations

from collections import Counter

import numpy as np

from firstfault.metrics import Array
from firstfault.subject.replays import Side

SAME = 1e-5
"""Scores that are one answer told twice."""


def near(rows: Array, others: Array, *, but_itself: bool = False) -> Array:
    """Which rows are found among others, to the last digits."""
    from scipy.spatial import cKDTree

    if not len(rows) or not len(others):
        return np.zeros(len(rows), bool)
    apart, _ = cKDTree(others).query(rows, k=2 if but_itself and len(others) > 1 else 1)
    nearest = apart[:, -1] if apart.ndim > 1 else apart
    return np.asarray(nearest < SAME)


def correlation(served: Array, base: Array) -> float:
    """The correlation of served and offline scores; 0 where either is always the same."""
    first, second = served.reshape(-1), base.reshape(-1)
    if len(first) < 2 or first.std() < 1e-9 or second.std() < 1e-9:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def pairs(side: Side) -> float | None:
    """Of the tensors that one process was asked several times, the share that it answered differently.

    None where fewer than five came several times.
    """
    by_tensor: dict[tuple[str, str], set[str]] = {}
    again: Counter[tuple[str, str]] = Counter()
    for request, _ in side.samples:
        value, answer = request.hashes.get("tensor") or request.hashes.get("raw"), request.hashes.get("logits")
        if value and answer and not value.startswith("~"):
            key = (request.replica, value)
            again[key] += 1
            by_tensor.setdefault(key, set()).add(answer)
    several = [key for key, times in again.items() if times > 1]
    if len(several) < 5:
        return None
    return sum(len(by_tensor[key]) > 1 for key in several) / len(several)


def groups(side: Side, places: Array) -> list[list[int]]:
    """The places of the samples of each request."""
    found: dict[int, list[int]] = {}
    for place in places:
        found.setdefault(id(side.samples[int(place)][0]), []).append(int(place))
    return list(found.values())
