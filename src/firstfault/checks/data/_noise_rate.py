"""How many labels were replaced, by maximum likelihood: only hard rows become easier with confidence.

    P(label | row) = w₀ · q(label | row) + Σₘ wₘ · Bₘ(label)

q is softmax(Σₘ aₘ · log pₘ + b), the models' probabilities for rows that they have not seen, recalibrated; B is where
replaced labels come from: all classes alike (noise that is even), or one class each with a weight of its own (noise
that has a direction).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from firstfault.checks.data._out_of_fold import OutOfFold

Array = np.ndarray[Any, Any]

SMALLEST = 1e-3  # least probability: the logarithm of a smaller one would rule the fit
STARTS = (-3.0, -1.0)  # logits of the weight of replaced labels: 5 % and 27 % of them
PENALTY = 0.01  # on b, whose sum the likelihood leaves open


class WrongShare(NamedTuple):
    """The share of labels replaced by another class, 0–1, and twice its gain in log-likelihood over none."""

    share: float
    evidence: float


class Bound(NamedTuple):
    """A share of wrong labels, and the evidence for it, from which on it counts."""

    share: float
    evidence: float

    def passed_by(self, found: WrongShare) -> bool:
        """Whether a share is above both."""
        return found.share > self.share and found.evidence > self.evidence


def wrong_shares(found: OutOfFold) -> tuple[WrongShare, WrongShare]:
    """The share of wrong labels as even noise, and as noise with a direction, which has a weight for every class."""
    model = _Mixture([found.linear, found.trees], found.y)
    none = model.none()
    return model.even().against(none), model.fitted(np.eye(model.classes)).against(none)


def even_share(probabilities: Sequence[Array], y: Array) -> WrongShare:
    """The share of wrong labels as even noise, by models' probabilities `(N, K)` for rows that they have not seen."""
    model = _Mixture(probabilities, y)
    return model.even().against(model.none())


class _Fit(NamedTuple):
    loss: float
    share: float

    def against(self, simpler: _Fit) -> WrongShare:
        return WrongShare(self.share, max(0.0, 2 * (simpler.loss - self.loss)))


class _Mixture:
    """The likelihood above; its parameters are log a (M), b (K), and the weights' logits (one for each row of B).

    `probabilities` are those `(N, K)` of M models for the rows whose class ids are `y`.
    """

    def __init__(self, probabilities: Sequence[Array], y: Array) -> None:
        self.scores = [np.log(values.clip(SMALLEST, 1)) for values in probabilities]
        self.y, self.rows = y, np.arange(len(y))
        self.classes, self.models = probabilities[0].shape[1], len(probabilities)
        self.given = np.eye(self.classes)[y]

    def none(self) -> _Fit:
        """The best parameters without replaced labels."""
        return self.fitted(np.zeros((0, self.classes)))

    def even(self) -> _Fit:
        """The best parameters where replaced labels are drawn from all classes alike."""
        return self.fitted(np.full((1, self.classes), 1 / self.classes))

    def fitted(self, background: Array) -> _Fit:
        """The best parameters for one background `(M, K)`, from two starts."""
        from scipy.optimize import minimize

        parts, rough = len(background), np.r_[np.full(self.models, -0.7), np.zeros(self.classes)]
        bounds = [(-6, 4)] * self.models + [(-8, 8)] * self.classes + [(-9, 3)] * parts
        best = min(
            (
                minimize(
                    self._loss,
                    np.r_[rough, np.full(parts, start - np.log(max(parts, 1)))],
                    args=(background,),
                    jac=True,
                    method="L-BFGS-B",
                    bounds=bounds,
                    options={"maxiter": 100},
                )
                for start in (STARTS if parts else STARTS[:1])
            ),
            key=lambda result: float(result.fun),
        )
        q, weights = self._recalibrated(best.x), self._weights(best.x)
        return _Fit(float(best.fun), float(((1 - q) @ background.T @ weights[1:]).mean()) if parts else 0.0)

    def _recalibrated(self, values: Array) -> Array:
        z = (
            sum(np.exp(log_a) * score for log_a, score in zip(values[: self.models], self.scores, strict=True))
            + values[self.models :][: self.classes]
        )
        z = np.exp(z - z.max(1, keepdims=True))
        return np.asarray(z / z.sum(1, keepdims=True))

    def _weights(self, values: Array) -> Array:
        logits = np.r_[0.0, values[self.models + self.classes :]]
        weights = np.exp(logits - logits.max())
        return np.asarray(weights / weights.sum())

    def _loss(self, values: Array, background: Array) -> tuple[float, Array]:
        """The negative log-likelihood with a slight penalty on b, and its gradient."""
        q, weights, b = self._recalibrated(values), self._weights(values), values[self.models :][: self.classes]
        own = weights[0] * q[self.rows, self.y]
        drawn = background[:, self.y]  # (M, N)
        likelihood = own + weights[1:] @ drawn + 1e-12
        by_score = -(own / likelihood)[:, None] * (self.given - q)
        gradient = [
            float((by_score * score).sum() * np.exp(log_a))
            for log_a, score in zip(values[: self.models], self.scores, strict=True)
        ]
        by_weight = -weights[1:] * (drawn / likelihood - 1).sum(1)
        loss = float(-np.log(likelihood).sum() + PENALTY * (b**2).sum())
        return loss, np.r_[gradient, by_score.sum(0) + 2 * PENALTY * b, by_weight]
