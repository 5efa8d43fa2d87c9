"""Whether a column is the label under noise: it says all of the label, and nothing of what the others measure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

Array = np.ndarray[Any, Any]

APART = 4.0  # deviations between neighbouring classes: two normal ones of 98 % balanced accuracy are 4.1 apart
SURER = 1.3  # times as far apart as the classes are in any other column
CHANCE = 0.01  # of one correlation among those of all pairs: a dependence of the columns given the label
RELATED = 1 / 3  # the share of the other columns that depend on each other, without which independence says nothing
SUMMED = 0.5  # of what a column holds beside an amount, explained by the others: of a copy it is chance, D / N
DEGREE = 5  # of the curve of a column's ranks over those of an amount
TRACE = 1e-6  # of the ranks' deviation: less is rounding, and nothing is left of the column beside the label


def beside_label(values: Array, target: Array, classes: bool) -> Array:
    """What columns `(N, D)` hold beside the label `(N,)`: ranks within each class, or about a curve over an amount."""
    if classes:
        left = pd.DataFrame(values).groupby(target).rank(pct=True).to_numpy()
        return np.asarray(left - 0.5)
    ranks = pd.DataFrame(values).rank(pct=True).to_numpy() - 0.5
    curve = np.polynomial.legendre.legvander(2 * pd.Series(target).rank(pct=True).to_numpy() - 1, DEGREE)
    return np.asarray(ranks - curve @ np.linalg.lstsq(curve, ranks, rcond=None)[0])


def stands_alone(left: Array, column: int) -> bool:
    """Whether one column depends on no other by what they hold beside the label, while others do on each other."""
    found = related(left)
    others = np.delete(np.arange(left.shape[1]), column)
    if len(others) < 2 or found[column].any():
        return False
    return bool(found[np.ix_(others, others)].any(1).mean() >= RELATED)


def is_summand(left: Array, column: int) -> bool:
    """Whether what one column holds beside an amount is in the others: together they make it up."""
    own, others = left[:, column], np.delete(left, column, axis=1)
    if not others.shape[1] or own.std() < TRACE:
        return False
    rest = own - others @ np.linalg.lstsq(others, own, rcond=None)[0]
    return bool(1 - rest.var() / own.var() > SUMMED)


def related(left: Array) -> Array:
    """Which pairs of columns `(D, D)` are correlated beyond chance."""
    from scipy.stats import t

    rows, count = left.shape
    spread = left.std(0)
    varied = spread > TRACE
    standard = (left - left.mean(0)) / np.where(varied, spread, 1.0)
    r = np.clip(standard.T @ standard / rows, -0.999999, 0.999999)
    doubt = 2 * t.sf(np.abs(r) * np.sqrt((rows - 2) / (1 - r**2)), rows - 2)
    found = (doubt < CHANCE / max(1, count * (count - 1) // 2)) & varied & varied[:, None]
    np.fill_diagonal(found, False)
    return np.asarray(found)


def apart(values: Array, target: Array) -> Array:
    """How far the nearest two classes are apart in each column `(N, D)`, in deviations within a class."""
    groups = pd.DataFrame(values).groupby(target)
    middles = np.sort(groups.mean().to_numpy(), axis=0)
    within = np.sqrt((groups.var().to_numpy() * (groups.size().to_numpy() - 1)[:, None]).sum(0) / len(values))
    return np.asarray(np.diff(middles, axis=0).min(0) / np.maximum(within, 1e-12))


def lies_apart(values: Array, target: Array, column: int) -> bool:
    """Whether the classes lie apart in one column, further than in any other."""
    found = apart(values, target)
    return bool(found[column] > APART and found[column] > SURER * np.delete(found, column).max(initial=0.0))
