"""Parting rows off for validation and test: the latest by time, whole groups, or at random by class."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from firstfault.data.times import times_of
from firstfault.errors import TargetError
from firstfault.metrics import Array
from firstfault.target.declaration import Data
from firstfault.texts import as_text

HELD_OUT = 0.2
"""The share of the rows."""


def hold_out(X: Any, y: Array, rows: Array, data: Data, seed: int, stratify: bool) -> tuple[Array, Array]:
    """Part off `HELD_OUT` of `rows`: the latest by time, whole groups, or at random by class.

    Both parts are places in `rows`.
    """
    n = len(rows)
    if n < 2:
        return np.arange(n), np.arange(n)
    frame = X if isinstance(X, pd.DataFrame) else None
    if frame is not None and data.time:
        order = _in_time(frame[data.time].iloc[rows], data.time)
        cut = max(1, round(n * (1 - HELD_OUT)))
        return order[:cut], order[cut:]
    if frame is not None and data.group:
        return _hold_out_groups(frame[data.group].iloc[rows], data.group, seed)
    return _hold_out_random(y[rows], seed, stratify)


def _in_time(times: pd.Series, name: str) -> Array:
    try:
        return np.argsort(times.to_numpy(), kind="stable")
    except TypeError:
        if (read := times_of(times)) is not None:  # missing and malformed times come last
            return np.argsort(read.values, kind="stable")
        kinds = ", ".join(sorted({type(value).__name__ for value in times}))
        raise TargetError(f"data.time must name a column that can be sorted, but {name!r} holds {kinds}") from None


def _hold_out_groups(groups: pd.Series, name: str, seed: int) -> tuple[Array, Array]:
    from sklearn.model_selection import GroupShuffleSplit

    codes = pd.factorize(as_text(groups) if groups.dtype == object else groups, sort=True)[0]
    if codes.min() == codes.max():
        raise TargetError(f"data.group must name a column of at least two groups, but {name!r} has one")
    kept, held = next(GroupShuffleSplit(1, test_size=HELD_OUT, random_state=seed).split(codes, groups=codes))
    return kept, held


def _hold_out_random(y: Array, seed: int, stratify: bool) -> tuple[Array, Array]:
    from sklearn.model_selection import train_test_split

    strata = None
    if stratify and y.ndim == 1:
        strata = pd.factorize(pd.Series(y))[0]
        counts = np.bincount(strata[strata >= 0])
        if (strata < 0).any() or counts.min() < 2 or len(counts) > len(y) * HELD_OUT:
            strata = None
    kept, held = train_test_split(np.arange(len(y)), test_size=HELD_OUT, random_state=seed, stratify=strata)
    return kept, held
