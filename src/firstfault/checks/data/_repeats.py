"""Telling copies from rows that repeat by chance.

Chance is bounded by how often two different rows agree on part of their columns: rows that never share a value of
one column, or of half of the columns, do not repeat by chance. Where some do, the copies are counted among the rows
that stand alone on random halves of the columns: chance repeats crowded rows, copying repeats any row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from firstfault.checks.data._hashing import Scan, among, column_words, scans
from firstfault.data.splits import Split, to_array
from firstfault.subject.memo import memo
from firstfault.subject.subject import Subject

Array = np.ndarray[Any, Any]

MOST_ROWS = 100_000  # 5 · 10⁹ pairs, which bound a probability by 10⁻¹⁰; with the next, bounds the time
MOST_VALUES = 1 << 23  # of the compared rows, 64 MB of float64
DRAWS = 3  # random halves of the columns
CERTAIN = 5  # repeats among rows that stand alone: fewer may be chance
FEWEST_ALONE = 30  # rows that stand alone: fewer give no share
DEFAULT_COPIES = 10  # rows of one pattern that may be copies all the same, however few the rows


def repeats(hashes: Array) -> Array:
    """Which rows `(N,)` are equal to an earlier one."""
    return pd.Series(hashes).duplicated().to_numpy()


def default_rows(hashes: Array, repeated: Array, recurring: float) -> Array:
    """Which rows `(N,)` follow a pattern that makes up more than `recurring` of them: a recurring state, no copy."""
    values, counts = np.unique(hashes[repeated], return_counts=True)
    common = values[counts > max(DEFAULT_COPIES, recurring * len(hashes))]
    return among(hashes, common) if len(common) else np.zeros(len(hashes), bool)


def copied_share(parts: Sequence[Any], hashes: Array, repeated: Array) -> float:
    """The share of rows that are copies, not chance repeats, 0–1: the share of repeats among rows that stand alone.

    A row stands alone when no different row agrees with it on any of three random halves of the columns. Where fewer
    than 30 do, or fewer than 5 of them are repeats, nothing is known of copies.

    Args:
        parts: the rows `(n, …)` of one or more splits, N in all.
        hashes: their hashes `(N,)`.
        repeated: whether each row is repeated `(N,)`; rows to leave out of the count are NaN in a float array.
    """
    counted = ~np.isnan(repeated) if repeated.dtype.kind == "f" else np.ones(len(repeated), bool)
    if not np.nansum(repeated):
        return 0.0
    alone = ~_crowded(parts, hashes) & counted
    found = float(np.nansum(repeated[alone]))
    if alone.sum() < FEWEST_ALONE or found < CERTAIN:
        return 0.0
    return min(found / float(alone.sum()), float(np.nanmean(repeated)))


def _crowded(parts: Sequence[Any], hashes: Array) -> Array:
    """Which rows `(N,)` agree with a different row on a random half of the columns."""
    equal = _occurrences(hashes)
    crowded = np.zeros(len(hashes), bool)
    for half in zip(*(_half_hashes(part) for part in parts), strict=True):
        crowded |= _occurrences(np.concatenate(half)) > equal
    return crowded


def _occurrences(hashes: Array) -> Array:
    codes, _ = pd.factorize(hashes)
    return np.asarray(np.bincount(codes)[codes])


def _half_hashes(X: Any) -> list[Array]:
    """Hashes `(N,)` of the rows on each of the random halves of the columns; the same halves for equal columns."""
    columns = _width(X)
    rng = np.random.default_rng(0)
    weights = np.zeros((DRAWS, columns), np.uint64)
    for draw in weights:
        half = rng.permutation(columns)[: (columns + 1) // 2]
        draw[half] = rng.integers(1, 2**63, size=len(half), dtype=np.uint64) | np.uint64(1)
    hashes = [np.zeros(len(X), np.uint64) for _ in weights]
    for place, words in enumerate(_columns(X)):
        for total, weight in zip(hashes, weights[:, place], strict=True):
            if weight:
                total += words * weight
    return hashes


def _width(X: Any) -> int:
    return int(X.shape[1]) if isinstance(X, pd.DataFrame) else int(np.prod(np.shape(X)[1:]))


def _columns(X: Any) -> Any:
    """The words `(N,)` of every column of inputs, one at a time."""
    if isinstance(X, pd.DataFrame):
        return (column_words(X.iloc[:, place])[0] for place in range(X.shape[1]))
    flat = to_array(X).reshape(len(X), -1)
    return (column_words(pd.Series(flat[:, place]))[0] for place in range(flat.shape[1]))


@memo(of="raw")
def agreement(subject: Subject) -> float:
    """A bound on the probability that two random rows of train are equal by chance; made once per subject.

    It is 1 where chance can't be bounded: a single column.
    """
    return _agreement(subject.raw.train, scans(subject)["train"])


def by_chance(count: int, pairs: float, probability: float, times: float) -> bool:
    """Whether `count` repeats among `pairs` of rows may be chance: `times` as many as it explains are not."""
    return count < times * max(1.0, pairs * probability)


def _agreement(train: Split, rows: Scan) -> float:
    X = _distinct(train.X, rows.hashes)
    columns, count = _width(X), len(X)
    if columns < 2 or count < 2:
        return 1.0
    pairs = count * (count - 1) / 2
    alone = [_equal_pairs(words) for words in _columns(X)] if columns <= 64 else []
    halves = [_equal_pairs(hashes) for hashes in _half_hashes(X)]
    return min(1.0, (min([*alone, max(halves)]) + 0.5) / pairs)


def _distinct(X: Any, hashes: Array) -> Any:
    """A sample of the distinct rows."""
    most = min(MOST_ROWS, MOST_VALUES // max(1, _width(X)))
    rows = np.arange(len(hashes))
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(0).choice(len(rows), most, replace=False))
    rows = rows[~repeats(hashes[rows])]
    return X.iloc[rows] if isinstance(X, pd.DataFrame) else to_array(X)[rows]


def _equal_pairs(hashes: Array) -> float:
    counts = np.unique(hashes, return_counts=True)[1].astype(float)
    return float((counts * (counts - 1)).sum() / 2)
