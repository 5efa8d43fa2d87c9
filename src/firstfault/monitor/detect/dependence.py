"""What the answers depend on: which fields matter, and what answer an input would usually get.

A surrogate of the model is learned from the reference's inputs and answers. A field that the answers don't depend on is
not looked at, however far it drifts. Answers are compared with those that their inputs would have got: other customers
get other answers, and nothing is wrong with that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from firstfault.metrics import Array
from firstfault.monitor.detect.surrogate import LEARNERS, Surrogate, Usually, usual_of

FEWEST = 300
"""Rows: a half learns, and a half says what matters."""
MATTERS, SURE = 0.001, 4.0
"""Share of the variance of a score that is lost when a field is shuffled, and the standard errors by which it is."""
EXPLAINS = 0.3
"""Share of the variance of the scores that inputs must explain before they are believed to."""
MOST_ROWS = 2_000
"""Of more, learning takes longer and is no better."""


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

    def usually(self, features: Array) -> Usually | None:
        """What inputs would usually get; None where they explain too little."""
        return None if self.surrogate is None else self.surrogate.usually(features[:, self.columns])


def dependence(features: Array, of_field: Sequence[str], scores: Array) -> Dependence:
    """Learn what scores `(N, T)` depend on, of features `(N, D)` whose fields are named `(D,)`."""
    nothing = independent(of_field)
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
    tried = [Surrogate(x[:, columns], y, learner) for learner in LEARNERS]
    surrogate = max(tried, key=lambda each: float(each.explains[moving].mean()))
    if float(np.max(surrogate.explains[moving])) < EXPLAINS:
        return nothing
    return Dependence(frozenset(matters), columns, surrogate)


def independent(of_field: Sequence[str]) -> Dependence:
    """What is known where inputs explain too little of the scores: nothing, so that every field may matter."""
    return Dependence(frozenset(of_field), np.ones(len(of_field), dtype=bool), None)


def _matters(x: Array, of_field: list[str], y: Array) -> set[str]:
    """The fields without which scores of rows that were not learned from are foretold worse, by either learner."""
    half = np.random.default_rng(0).permutation(len(x))
    learned, other = half[: len(x) // 2], half[len(x) // 2 :]
    found: set[str] = set()
    for learner in LEARNERS:
        found |= _used(Surrogate(x[learned], y[learned], learner), x[other], y[other], np.array(of_field))
    return found


def _used(surrogate: Surrogate, rows: Array, truth: Array, names: Array) -> set[str]:
    """The fields that a surrogate needs: shuffled, they cost more than chance."""
    variance, base = np.maximum(truth.var(0), 1e-12), _off(surrogate, rows, truth)
    found = set()
    for name in dict.fromkeys(names.tolist()):
        shuffled = rows.copy()
        columns = names == name
        shuffled[:, columns] = rows[:, columns][np.random.default_rng(1).permutation(len(rows))]
        if _is_worse((_off(surrogate, shuffled, truth) - base) / variance).any():
            found.add(name)
    return found


def _is_worse(worse: Array) -> Array:
    """Whether the mean of `(n, T)` is more than nothing, and more than chance."""
    mean = worse.mean(0)
    return np.asarray((mean > MATTERS) & (mean > SURE * worse.std(0) / len(worse) ** 0.5))


def _off(surrogate: Surrogate, x: Array, y: Array) -> Array:
    """By how much each row's scores are foretold wrongly, squared `(n, T)`."""
    return np.asarray((surrogate.usually(x).expected - y) ** 2)


def residuals(features: Array) -> tuple[Array, Any]:
    """What each column of `(N, D)` is beside what the others say of it, and a function that says it of new rows.

    A column that moves alone, against those that it usually moves with, is another matter than a population that moves.
    """
    usual = usual_of(features)

    def slopes(x: Array) -> Array:
        """Of each column on all others, from the inverse of their covariance."""
        inverse = np.linalg.inv(np.cov(x, rowvar=False).reshape(x.shape[1], -1) + 0.05 * np.eye(x.shape[1]))
        return np.asarray(np.eye(len(inverse)) - inverse / np.diag(inverse))

    def left(values: Array, b: Array) -> Array:
        x = usual.scaled(values)
        plain = (values - usual.middle) / usual.spread  # of the column itself, the whole is looked at
        return np.asarray(plain - x @ b)

    b = slopes(usual.scaled(features))
    folds = np.arange(len(features)) % 5
    own = np.empty_like(features)
    for fold in range(5):
        own[folds == fold] = left(features[folds == fold], slopes(usual.scaled(features[folds != fold])))
    return own, lambda values: left(values, b)
