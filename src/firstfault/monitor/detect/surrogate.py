"""What inputs usually get: a copy of the served model, learned from recorded inputs and scores.

A smooth map, as networks and linear models are, or trees: whichever foretells better what it has not seen.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple, Protocol

import numpy as np

from firstfault.metrics import Array

TREES, LEAF = 40, 3
"""As few as foretell almost as well as 100, at 10 µs a request."""
RIDGE = 1.0
"""Keeps the slopes of columns that are nearly the same finite."""
WIDTH, LINEAR = 1.0, 10.0
"""Of the kernel, and what is linear in it: of those tried on the five models of benchmarks/incidents.py, the best."""
NOISES = (0.01, 0.1, 1.0, 10.0)
"""Parts of a score that no input explains, in units of the kernel."""
TRIED_ON = 700
"""Rows by which noise and steepness are learned: enough to tell tenfold apart."""
OUTERMOST = 0.002
"""Inputs beyond this quantile of the reference count as the quantile."""


class Usual(NamedTuple):
    """What is usual of each column `(D,)`, 0 where none of its values is known."""

    middle: Array
    spread: Array
    low: Array
    high: Array

    def scaled(self, values: Array) -> Array:
        """Values `(N, D)` within what is usual, in deviations from the middle; 0 where they are not known."""
        within = np.clip(np.where(np.isnan(values), self.middle, values), self.low, self.high)
        return np.asarray((within - self.middle) / self.spread)


def usual_of(features: Array) -> Usual:
    """What is usual of the columns of `(N, D)`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # numpy's, of columns of which nothing is known
        middle, spread = np.nanmedian(features, axis=0), np.nanstd(features, axis=0)
        low, high = np.nanquantile(features, [OUTERMOST, 1 - OUTERMOST], axis=0)
    known = [np.nan_to_num(each) for each in (middle, spread, low, high)]
    return Usual(known[0], known[1] + 1e-9, known[2], known[3])


class Learner(Protocol):
    """Learns `y (N, T)`, with mean 0, from `x (N, D)` in deviations."""

    left: Array
    """What it leaves of each row `(N, T)`, had it not seen that one."""

    def predict(self, x: Array) -> Array:
        """What rows `(n, D)` usually get `(n, T)`."""


class Smooth:
    """A ridge regression with a Gaussian kernel and a linear one, in which a column counts by how steep the scores are.

    What it leaves of rows that it has not seen is in closed form.
    Source: Rasmussen & Williams 2006, Gaussian Processes for Machine Learning, section 5.4.2; Radhakrishnan et al. 2024,
    Mechanism for feature learning in neural networks and backpropagation-free machine learning models.
    """

    def __init__(self, x: Array, y: Array) -> None:
        part = slice(None, None, -(-len(x) // TRIED_ON))
        noise, weights = _least_noise(x[part], y[part])
        steep = _steepness(x[part], weights / np.maximum(y.std(0), 1e-9))
        self._scale = steep / max(float((steep**2).mean()) ** 0.5, 1e-12)
        x = x * self._scale
        noise, _ = _least_noise(x[part], y[part])
        weights, self.left = _solved(_kernel(x, x), y, noise)
        self._x, self._weights = x.astype(np.float32), weights.astype(np.float32)

    def predict(self, x: Array) -> Array:
        """What rows usually get."""
        return np.asarray(_kernel((x * self._scale).astype(np.float32), self._x) @ self._weights, dtype=float)


def _kernel(rows: Array, others: Array) -> Array:
    """How alike two rows are `(n, N)`."""
    return _near(rows, others) + rows @ others.T * (LINEAR / rows.shape[1])  # type: ignore[no-any-return]


def _near(rows: Array, others: Array) -> Array:
    """The Gaussian part of the kernel `(n, N)`."""
    apart = (rows**2).sum(1)[:, None] + (others**2).sum(1)[None] - 2 * rows @ others.T
    apart *= -WIDTH / rows.shape[1]
    return np.asarray(np.exp(np.minimum(apart, 0.0, out=apart), out=apart))


def _least_noise(x: Array, y: Array) -> tuple[float, Array]:
    """The noise with which rows foretell each other best, and the weights with it."""
    kernel, scale = _kernel(x, x), np.maximum(y.var(0), 1e-12)
    tried = [(noise, *_solved(kernel, y, noise)) for noise in NOISES]
    noise, weights, _ = min(tried, key=lambda each: float((each[2] ** 2 / scale).mean()))
    return noise, weights


def _steepness(x: Array, weights: Array) -> Array:
    """How steep the scores `(N, T)` with these weights are in each column `(D,)`, as the root of a mean square."""
    near, width = _near(x, x), x.shape[1]
    total = np.zeros(width)
    for own in weights.T:
        slope = (near @ (own[:, None] * x) - x * (near @ own)[:, None]) * (2 * WIDTH / width)
        total += ((slope + LINEAR / width * (own @ x)) ** 2).mean(0)
    return np.asarray(total**0.5)


def _solved(kernel: Array, y: Array, noise: float) -> tuple[Array, Array]:
    """The weights of the rows, and what each row's would be off by had it not been there."""
    from scipy.linalg import cho_factor, cho_solve

    factor = cho_factor(kernel + noise * np.eye(len(kernel)), overwrite_a=True)
    inverse = cho_solve(factor, np.eye(len(kernel)), overwrite_b=True)
    weights = inverse @ y
    return np.asarray(weights), np.asarray(weights / np.diag(inverse)[:, None])


class Trees:
    """What is linear, and a forest of what that leaves."""

    def __init__(self, x: Array, y: Array) -> None:
        from sklearn.ensemble import RandomForestRegressor

        self._slopes = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ y)
        linear = y - x @ self._slopes
        self._forest = RandomForestRegressor(
            TREES, min_samples_leaf=LEAF, max_features=0.5, oob_score=True, random_state=0, n_jobs=1
        )
        self._forest.fit(x, linear if linear.shape[1] > 1 else linear[:, 0])
        self.left = np.asarray(linear - np.nan_to_num(self._forest.oob_prediction_.reshape(linear.shape)))

    def predict(self, x: Array) -> Array:
        """What rows usually get."""
        return np.asarray(x @ self._slopes + self._forest.predict(x).reshape(len(x), -1))


LEARNERS: tuple[type[Smooth | Trees], ...] = (Smooth, Trees)


class Surrogate:
    """Learns scores `(N, T)` from features `(N, D)`; `left` is what it leaves of them, on rows that it has not seen."""

    def __init__(self, features: Array, scores: Array, learner: type[Smooth | Trees]) -> None:
        self.usual, self.mean = usual_of(features), scores.mean(0)
        self.learned: Learner = learner(self.usual.scaled(features), scores - self.mean)
        self.left = self.learned.left
        self.explains = 1 - self.left.var(0) / np.maximum(scores.var(0), 1e-12)

    def expected(self, features: Array) -> Array:
        """The scores `(N, T)` that inputs would usually get."""
        return np.asarray(self.mean + self.learned.predict(self.usual.scaled(features)))
