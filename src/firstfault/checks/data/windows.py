"""Windows that slide over a series: rows that overlap their neighbours are in the order of time, declared or not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from firstfault.check import Judgement, check, skipped
from firstfault.data.splits import to_array
from firstfault.data.windows import FEWEST_STEPS
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.subject import Subject

Array = np.ndarray[Any, Any]

MOST_VALUES = 10_000_000  # numbers of a split: 80 MB of hashes
BASE = 0x5851F42D4C957F2D  # an odd multiplier (Knuth's for 64 bits), so that it has an inverse


@check(layer=Layer.DATA, needs={"raw"}, detects={"split_overlap": 0.92})
def overlapping_windows(subject: Subject, *, share: float = 0.5, distinct: float = 0.9) -> Iterator[Judgement]:
    """Find held-out windows of a series whose steps are in training windows too.

    Measures: the share of known windows of the worst split: near 1 where overlapping windows were dealt out at random,
        a few at the border where they were parted by time. A window `(T,)` or `(T, D)` of numbers is known when its
        first or last half is a part of a training window, wherever it stands there. Up to 10,000,000 numbers of a split
        are looked at.
    Fails when: the share of a declared split is above `share`.
    Warns when: that of a split that firstfault drew is.
    Not a fault when: fewer than `distinct` of the first or last halves differ: rows repeat at one place, and are no
        windows.
    Source: Kapoor & Narayanan 2023, temporal leakage and dependent samples. The bounds lie between the two cases;
        tests/checks/data/test_windows.py holds both.
    """
    raw = subject.raw
    known = None if isinstance(raw.train.X, pd.DataFrame) else _halves(raw.train.X, distinct, everywhere=True)
    if known is None:
        yield skipped("the inputs are no windows of a series of numbers")
        return
    known = np.unique(known)
    shares = {}
    for name in ("validation", "test"):
        own = _halves(getattr(raw, name).X, distinct, everywhere=False)
        shares[name] = float(np.isin(own, known).any(1).mean()) if own is not None else 0.0
    declared = subject.data.declared_splits
    name = max(shares, key=lambda entry: (entry in declared and shares[entry] > share, shares[entry]))
    value = shares[name]
    status = Status.PASS if value <= share else Status.FAIL if name in declared else Status.WARN
    yield Judgement(
        status,
        f"half the steps and more of {value:.0%} of the windows of {name} are in windows of train",
        value=value,
        threshold=share,
        where=Place.data(name) if status is not Status.PASS else None,
        fix=None
        if status is Status.PASS
        else "split the series by time before cutting windows, and leave a gap of one window",
    )


def _halves(X: Any, distinct: float, *, everywhere: bool) -> Array | None:
    """Hashes `(N, P)` of the half windows at every place, or of the first and last; None for what are no windows.

    What stands still, such as padding, has a hash of its own in every row.
    """
    if np.ndim(X) not in (2, 3) or np.shape(X)[1] < FEWEST_STEPS or not len(X):
        return None
    values = to_array(X)[: max(1, MOST_VALUES // int(np.prod(np.shape(X)[1:])))]
    if values.dtype.kind != "f":
        return None
    length = values.shape[1]
    half = length // 2
    places = np.arange(length - half + 1) if everywhere else np.array([0, length - half])
    pieces, moves = _pieces(_hashed(values), places, half)
    own = np.arange(len(values), dtype=np.uint64)[:, None] + np.uint64(0 if everywhere else 2**40)
    found = np.where(moves, pieces, own)
    alike = min(len(np.unique(found[:, place])) for place in (0, -1)) < distinct * len(found)
    return None if alike else found  # few values at one place come again by chance at another


def _pieces(steps: Array, places: Array, length: int) -> tuple[Array, Array]:
    """Hashes `(N, P)` of the steps `(N, T)` from each place on, and whether these change.

    Equal steps have equal hashes wherever they stand: Σ step · bᵏ, by running sums.
    """
    powers, back = (
        np.array([pow(base, k, 2**64) for k in range(steps.shape[1])], dtype=np.uint64)
        for base in (BASE, pow(BASE, -1, 2**64))
    )
    sums = np.pad(np.cumsum(steps * powers, axis=1, dtype=np.uint64), ((0, 0), (1, 0)))
    changes = np.pad(np.cumsum(steps[:, 1:] != steps[:, :-1], axis=1), ((0, 0), (1, 0)))
    pieces = (sums[:, places + length] - sums[:, places]) * back[places]
    return pieces, changes[:, places + length - 1] > changes[:, places]


def _hashed(values: Array) -> Array:
    """A hash `(N, T)` of every step."""
    bits = np.ascontiguousarray(values.astype(np.float64) + 0.0).view(np.uint64).reshape(*values.shape[:2], -1)
    odd = np.random.default_rng(0).integers(1, 2**63, bits.shape[2], dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    mixed = (bits ^ (bits >> np.uint64(32))) * np.uint64(0x9E3779B97F4A7C15)
    return np.asarray((mixed * odd).sum(2, dtype=np.uint64))
