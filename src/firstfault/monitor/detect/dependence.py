"""What the answers depend on: which fields matter, and what answer an input would usually get.

A surrogate of the model, learned from the reference's inputs and answers: a ridge regression, and a forest on what it
leaves. A field that the answers don't depend on is not looked at, however far it drifts. Answers are compared with
those that their inputs would have got: other customers get other answers, and nothing is wrong with that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from firstfault.metrics import Array

FEWEST = 300
"""Rows: a half learns, and a half says what matters."""
MATTERS = 0.01
"""Share of the variance of a score that is lost when a field is shuffled."""
EXPLAINS = 0.3
"""Share of the variance of the scores that inputs must explain before they are believed to."""
TREES, LEAF = 40, 3
"""As few as foretell almost as well as 100, at 10 µs a request."""
RIDGE = 1.0
"""Keeps the slopes of columns that are nearly the same finite."""
OUTERMOST = 0.002
"""Inputs beyond this quantile of the reference count as the quantile."""
MOST_ROWS = 4_000
"""Of more, learning takes longer and is no better."""


class Surrogate:
    """Learns scores `(N, T)` from features `(N, D)`; `left` is what it leaves of them, on rows that it has not seen."""

    def __init__(self, features: Array, scores: Array) -> None:
        from sklearn.ensemble import RandomForestRegressor

        self.low, self.high = np.nanquantile(features, [OUTERMOST, 1 - OUTERMOST], axis=0)
        self.middle = np.nan_to_num(np.nanmedian(features, axis=0))
        self.spread = np.nan_to_num(np.nanstd(features, axis=0)) + 1e-9
        x = self._scaled(features)
        self.mean = scores.mean(0)
        self.slopes = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ (scores - self.mean))
        linear = scores - self.mean - x @ self.slopes
        self.forest = RandomForestRegressor(
            TREES, min_samples_leaf=LEAF, max_features=0.5, oob_score=True, random_state=0, n_jobs=1
        )
        self.forest.fit(x, linear if linear.shape[1] > 1 else linear[:, 0])
        left = linear - np.nan_to_num(self.forest.oob_prediction_.reshape(linear.shape))
        self.left = left
        self.explains = 1 - left.var(0) / np.maximum(scores.var(0), 1e-12)

    def _scaled(self, features: Array) -> Array:
        clipped = np.clip(np.where(np.isnan(features), self.middle, features), self.low, self.high)
        return np.asarray((clipped - self.middle) / self.spread)

    def expected(self, features: Array) -> Array:
        """The scores `(N, T)` that inputs would usually get."""
        x = self._scaled(features)
        return np.asarray(self.mean + x @ self.slopes + self.forest.predict(x).reshape(len(x), -1))


@dataclass(frozen=True)
class Dependence:
    """What the scores depend on.

    Attributes:
        fields: those that matter.
        columns: of the features that are of these fields `(D,)`, as truth values.
        surrogate: learned from these alone; None where inputs explain too little.
    """

    fields: frozenset[str]
    columns: Array
    surrogate: Surrogate | None

    def explains(self, score: int) -> float:
        """How much of a score's variance the inputs explain."""
        return 0.0 if self.surrogate is None else max(0.0, float(self.surrogate.explains[score]))

    def expected(self, features: Array) -> Array | None:
        """The scores that inputs would usually get; None where inputs explain too little."""
        return None if self.surrogate is None else self.surrogate.expected(features[:, self.columns])


def dependence(features: Array, of_field: Sequence[str], scores: Array) -> Dependence:
    """Learn what scores `(N, T)` depend on, of features `(N, D)` whose fields are named `(D,)`."""
    nothing = Dependence(frozenset(of_field), np.ones(len(of_field), dtype=bool), None)
    known = ~np.isnan(scores).any(1)
    if known.sum() < FEWEST or not len(of_field) or not scores.shape[1]:
        return nothing
    x, y = features[known][-MOST_ROWS:], scores[known][-MOST_ROWS:]
    moving = y.std(0) > 1e-9
    if not moving.any():
        return nothing
    matters = _matters(x, list(of_field), y[:, moving])
    columns = np.array([name in matters for name in of_field])
    if not columns.any():
        return nothing
    surrogate = Surrogate(x[:, columns], y)
    if float(np.max(surrogate.explains[moving])) < EXPLAINS:
        return nothing
    return Dependence(frozenset(matters), columns, surrogate)


def _matters(x: Array, of_field: list[str], y: Array) -> set[str]:
    """The fields without which scores of rows that were not learned from are foretold worse."""
    half = np.random.default_rng(0).permutation(len(x))
    learned, other = half[: len(x) // 2], half[len(x) // 2 :]
    surrogate = Surrogate(x[learned], y[learned])
    rows, truth = x[other], y[other]
    variance = np.maximum(truth.var(0), 1e-12)
    base = _error(surrogate, rows, truth)
    names = np.array(of_field)
    found = set()
    for name in dict.fromkeys(of_field):
        shuffled = rows.copy()
        columns = names == name
        shuffled[:, columns] = rows[:, columns][np.random.default_rng(1).permutation(len(rows))]
        if (((_error(surrogate, shuffled, truth) - base) / variance) > MATTERS).any():
            found.add(name)
    return found


def _error(surrogate: Surrogate, x: Array, y: Array) -> Array:
    return np.asarray(((surrogate.expected(x) - y) ** 2).mean(0))


def residuals(features: Array) -> tuple[Array, Any]:
    """What each column of `(N, D)` is beside what the others say of it, and a function that says it of new rows.

    A column that moves alone, against those that it usually moves with, is another matter than a population that moves.
    """
    middle = np.nan_to_num(np.nanmedian(features, axis=0))
    spread = np.nan_to_num(np.nanstd(features, axis=0)) + 1e-9
    low, high = np.nanquantile(features, [OUTERMOST, 1 - OUTERMOST], axis=0)

    def scaled(values: Array) -> Array:
        return np.asarray((np.clip(np.where(np.isnan(values), middle, values), low, high) - middle) / spread)

    def slopes(x: Array) -> Array:
        """Of each column on all others, from the inverse of their covariance."""
        inverse = np.linalg.inv(np.cov(x, rowvar=False).reshape(x.shape[1], -1) + 0.05 * np.eye(x.shape[1]))
        return np.asarray(np.eye(len(inverse)) - inverse / np.diag(inverse))

    def left(values: Array, b: Array) -> Array:
        x = scaled(values)
        plain = (values - middle) / spread  # of the column itself, the whole is looked at
        return np.asarray(plain - x @ b)

    b = slopes(scaled(features))
    folds = np.arange(len(features)) % 5
    own = np.empty_like(features)
    for fold in range(5):
        own[folds == fold] = left(features[folds == fold], slopes(scaled(features[folds != fold])))
    return own, lambda values: left(values, b)
