"""Running the user's preparation again, on changed splits, and telling how far two results are apart."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from firstfault.data.splits import Split, Splits, to_array
from firstfault.errors import UserCodeError
from firstfault.seeds import same_random_state
from firstfault.subject.memo import memo
from firstfault.subject.subject import Subject
from firstfault.training.preprocessing import Pipeline, prepare
from firstfault.training.stages import numbers

Array = np.ndarray[Any, Any]

MOST_MATCHED = 400  # rows that an equal is looked for: bounds the time, and a share errs by 2.5 %
PROJECTED = 64  # directions of wide rows: different rows stay different


class Apart(NamedTuple):
    """How far two prepared inputs are apart: the share of values that differ, and by how many deviations."""

    share: float
    size: float


@contextlib.contextmanager
def fixed_seeds(seed: int = 0) -> Iterator[None]:
    """Seed Python's, NumPy's and torch's global generators, and put their states back at the end."""
    with same_random_state():
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        yield


def rerun(subject: Subject, splits: Splits) -> Pipeline | None:
    """The preparation of other raw splits, with global seeds fixed; None when the user's code refuses them."""
    try:
        with fixed_seeds():
            return prepare(subject.target, splits)
    except UserCodeError:
        return None


@memo(of="prepared")
def reference_run(subject: Subject) -> Splits | None:
    """The preparation of the raw splits with global seeds fixed, which other reruns compare with."""
    again = rerun(subject, subject.raw)
    return again.prepared if again else None


def flat(X: Any) -> Array:
    """Inputs as float64 `(N, D)`; text columns are left out."""
    values = numbers(X)
    return values.reshape(len(values), -1) if len(values) else np.zeros((0, 1))


def scale_of(values: Array) -> Array:
    """The deviation `(D,)` of every column, 1 where it is constant."""
    if not len(values):
        return np.ones(values.shape[1])
    with np.errstate(all="ignore"):
        deviation = np.nanstd(np.where(np.isfinite(values), values, np.nan), axis=0)
    return np.where(deviation > 1e-9, deviation, np.maximum(np.abs(np.nan_to_num(values[0])), 1e-9))


def apart(a: Any, b: Any) -> Apart:
    """Compare prepared inputs row by row; rows in another order, copied or dropped do not count as different."""
    first, second = flat(a), flat(b)
    if first.shape[1] != second.shape[1]:
        return Apart(1.0, float("inf"))
    if not first.size or not second.size:
        return Apart(0.0, 0.0)
    if len(first) == len(second):
        aligned = apart_by_row(first, second)
        if aligned.share < 1e-4:
            return Apart(0.0, 0.0)
        loose = unmatched(first, second)
        return aligned if loose > 0.05 else Apart(loose, aligned.size if loose else 0.0)
    loose = unmatched(first, second)
    return Apart(loose, _marginal(first, second) if loose else 0.0)


def apart_by_row(first: Array, second: Array) -> Apart:
    """The same for arrays `(N, D)` whose rows belong together; the size is that of the column that moves most."""
    scale = scale_of(first)
    known = np.isfinite(first) & np.isfinite(second)
    moved = np.where(known, np.abs(np.nan_to_num(first) - np.nan_to_num(second)), 0.0) / scale
    differs = (moved > 1e-3) | (np.isfinite(first) != np.isfinite(second))
    return Apart(float(differs.mean()), float(moved.mean(0).max(initial=0.0)))


def moved_columns(first: Array, second: Array) -> Array:
    """The mean move `(D,)` of every column between rows that belong together, in its deviations."""
    return np.nan_to_num(np.abs(first - second) / scale_of(first)).mean(0)


def unmatched(first: Array, second: Array) -> float:
    """The share of rows without an equal on the other side, on the side that has fewer such rows."""
    scale = scale_of(first)
    first, second = (np.nan_to_num(values / scale, posinf=0.0, neginf=0.0) for values in (first, second))
    if first.shape[1] > PROJECTED:
        directions = np.random.default_rng(0).normal(size=(first.shape[1], PROJECTED)) / np.sqrt(first.shape[1])
        first, second = first @ directions, second @ directions
    return min(_without_equal(first, second), _without_equal(second, first))


def _without_equal(rows: Array, among: Array) -> float:
    from scipy.spatial import cKDTree

    if len(rows) > MOST_MATCHED:
        rows = rows[np.random.default_rng(0).choice(len(rows), MOST_MATCHED, replace=False)]
    if rows.shape[1] <= 16:
        distance = cKDTree(among).query(rows)[0]
    else:
        squares = (rows**2).sum(1)[:, None] + (among**2).sum(1)[None] - 2 * rows @ among.T
        distance = np.sqrt(np.maximum(squares.min(1), 0.0))
    return float((distance > 5e-3 * np.sqrt(rows.shape[1])).mean())


def _marginal(first: Array, second: Array) -> float:
    with np.errstate(all="ignore"):
        shift = np.abs(np.nanmean(first, 0) - np.nanmean(second, 0)) / scale_of(first)
        stretch = np.abs(np.nanstd(second, 0) / scale_of(first) - 1)
    return float(np.nan_to_num(np.maximum(shift, stretch)).max(initial=0.0))


def rows_of(X: Any, rows: Any, extra: Any = None) -> Any:
    """Rows of inputs by position, after appending those of `extra`; a frame keeps its columns and dtypes."""
    if isinstance(X, pd.DataFrame):
        pool = X if extra is None else pd.concat([X, extra], ignore_index=True)
        return pool.iloc[rows].reset_index(drop=True)
    pool = X if extra is None else np.concatenate([to_array(X), to_array(extra)])
    return pool[rows]


def joined(*parts: Split) -> Split:
    """Several splits as one, in order."""
    X = [part.X for part in parts]
    y = np.concatenate([to_array(part.y) for part in parts])
    if isinstance(X[0], pd.DataFrame):
        return Split(pd.concat(X, ignore_index=True), y)
    return Split(np.concatenate([to_array(part) for part in X]), y)


def score(X: Any) -> Array:
    """One number per row `(N,)` that orders rows by their values: the mean of standardised columns."""
    values = flat(X)
    if not values.shape[1]:
        return np.arange(len(X), dtype=float)
    return np.nan_to_num(np.nan_to_num(values) / scale_of(values)).mean(1)


def two_labels(task: str, y: Any) -> tuple[Any, Any] | None:
    """Two different labels that occur: frequent classes, a low and a high target, or two label vectors."""
    y = to_array(y)
    if y.ndim > 1:
        others = np.flatnonzero((y != y[0]).reshape(len(y), -1).any(1))
        return (y[0], y[others[0]]) if len(others) else None
    values = pd.Series(y).dropna()
    if task == "classification":
        common = values.value_counts().index[:2].tolist()
        return (common[0], common[1]) if len(common) == 2 else None
    ordered = values.sort_values().to_numpy()
    if len(ordered) < 2 or ordered[len(ordered) // 10] == ordered[-1 - len(ordered) // 10]:
        return None
    return ordered[len(ordered) // 10], ordered[-1 - len(ordered) // 10]


def labelled(split: Split, low: Any, high: Any, where: Array) -> Split:
    """A split whose labels are `high` at the marked rows and `low` at all others."""
    y = to_array(split.y).copy()
    y[:] = low
    y[where] = high
    return Split(split.X, y)


def codes_of(y: Any) -> Array:
    """Labels `(N, …)` as whole numbers: equal labels have equal numbers."""
    y = to_array(y)
    if y.ndim > 1 and y.shape[0]:
        return np.asarray(np.unique(y.reshape(len(y), -1), axis=0, return_inverse=True)[1]).reshape(-1)
    return np.asarray(pd.factorize(pd.Series(y.reshape(-1)))[0])


@memo(of="prepared")
def rows_change_split(subject: Subject) -> bool:
    """Whether the user's prepare deals the rows out anew: labels that name the split come out mixed."""
    if subject.target.prepare is None:
        return False
    raw = subject.raw
    pair = two_labels(subject.target.task, raw.train.y)
    if pair is None or min(len(split.y) for _, split in raw.items()) < 20:
        return False
    parts = []
    for name, split in raw.items():
        few = np.arange(len(split.y)) % max(1, len(split.y) // 5) == 0  # a few of the other, for stratified splits
        parts.append(labelled(split, *pair, where=few if name == "train" else ~few))
    again = rerun(subject, Splits(*parts))
    if again is None:
        return False
    first = codes_of(again.prepared.train.y)
    return bool(len(first) and np.bincount(first[first >= 0], minlength=1).max() < 0.9 * len(first))
