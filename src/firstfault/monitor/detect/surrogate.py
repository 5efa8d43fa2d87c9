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
LEAST_SPREAD = 0.1
"""Of what is left on the average, so much is left everywhere."""
AT_ONCE = 128
"""Rows that are foretold at once: how alike they are to all that was learned from fits into a processor's cache."""
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


class Usually(NamedTuple):
    """What inputs usually get `(N, T)`, and by how much their scores are usually off from that."""

    expected: Array
    spread: Array


class Learner(Protocol):
    """Learns `y (N, T)`, with mean 0, from `x (N, D)` in deviations."""

    left: Array
    """What it leaves of each row `(N, T)`, had it not seen that one."""
    spread: Array
    """How much it usually leaves of rows like each one `(N, T)`."""

    def predict(self, x: Array) -> tuple[Array, Array]:
        """What rows `(n, D)` usually get `(n, T)`, and how much of it is usually left."""


class Smooth:
    """A ridge regression with a Gaussian kernel and a linear one, in which a column counts by how steep the scores are.

    What it leaves of rows that it has not seen is in closed form.
    Source: Rasmussen & Williams 2006, Gaussian Processes for Machine Learning, section 5.4.2; Radhakrishnan,
    Beaglehole, Pandit & Belkin 2024, Mechanism for feature learning in neural networks.
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
        self._off = np.abs(self.left).astype(np.float32)
        self._least = LEAST_SPREAD * np.abs(self.left).mean(0)
        near = _near(x, x)
        np.fill_diagonal(near, 0.0)
        self.spread = self._around(near, np.abs(self.left))

    def predict(self, x: Array) -> tuple[Array, Array]:
        """What rows usually get, and how much of it is usually left: what was of the rows that are like it."""
        x = (x * self._scale).astype(np.float32)
        parts = [self._predicted(x[start : start + AT_ONCE]) for start in range(0, max(1, len(x)), AT_ONCE)]
        return np.concatenate([expected for expected, _ in parts]), np.concatenate([spread for _, spread in parts])

    def _predicted(self, x: Array) -> tuple[Array, Array]:
        products = x @ self._x.T
        near = _near(x, self._x, products)
        spread = self._around(near, self._off)
        near += _linear(products, x.shape[1])
        return np.asarray(near @ self._weights, dtype=float), spread

    def _around(self, near: Array, left: Array) -> Array:
        """How much is left of the rows that are like each other by the kernel's fourth power."""
        close = near * near
        close *= close
        return np.asarray(close @ left / (close.sum(1, keepdims=True) + 1e-30) + self._least, dtype=float)


def _kernel(rows: Array, others: Array) -> Array:
    """How alike two rows are `(n, N)`."""
    products = rows @ others.T
    return np.asarray(_near(rows, others, products) + _linear(products, rows.shape[1]))


def _linear(products: Array, width: int) -> Array:
    """The linear part of the kernel `(n, N)`, of the rows' products."""
    return np.asarray(products * (LINEAR / width))


def _near(rows: Array, others: Array, products: Array | None = None) -> Array:
    """The Gaussian part of the kernel `(n, N)`, by the rows' products where they are known."""
    apart = (rows**2).sum(1)[:, None] + (others**2).sum(1)[None]
    apart -= 2 * (rows @ others.T if products is None else products)
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
        self.spread = np.broadcast_to(np.abs(self.left).mean(0) + 1e-12, self.left.shape)

    def predict(self, x: Array) -> tuple[Array, Array]:
        """What rows usually get, and how much of it is left of all."""
        found = np.asarray(x @ self._slopes + self._forest.predict(x).reshape(len(x), -1))
        return found, np.broadcast_to(self.spread[0], found.shape)


LEARNERS: tuple[type[Smooth | Trees], ...] = (Smooth, Trees)


class Surrogate:
    """Learns scores `(N, T)` from features `(N, D)`.

    `left` is what it leaves of them, on rows that it has not seen, and `spread` how much it leaves of rows like these.
    """

    def __init__(self, features: Array, scores: Array, learner: type[Smooth | Trees]) -> None:
        self.usual, self.mean = usual_of(features), scores.mean(0)
        self.learned: Learner = learner(self.usual.scaled(features), scores - self.mean)
        self.left, self.spread = self.learned.left, self.learned.spread
        self.explains = 1 - self.left.var(0) / np.maximum(scores.var(0), 1e-12)

    def usually(self, features: Array) -> Usually:
        """The scores `(N, T)` that inputs would usually get, and how much is usually left of them."""
        expected, spread = self.learned.predict(self.usual.scaled(features))
        return Usually(self.mean + expected, spread)
