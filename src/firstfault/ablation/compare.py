"""Two arms over the same seeds: is the difference more than the noise?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from firstfault.metrics import Array
from firstfault.training.scores import least_effect, standard_error

SIGNIFICANT = 0.05
"""The usual bound of a one-sided p-value; three seeds wholly apart just reach it (one order in 20)."""
SURE = 1.64
"""Standard errors that chance exceeds once in 20 scores: the one-sided bound of a normal distribution."""
FEWEST_SEEDS = 2
"""Of one pair nobody knows how much of its gain is the seed's."""
SEEDS_APART = 3
"""The fewest at which chance puts one arm wholly above the other in no more than 1 of 20 orders; of two, in 1 of 6."""


@dataclass(frozen=True)
class Comparison:
    """Means of both arms, the noise band, the one-sided p-value by which they are judged, and the judgement.

    `noise` is the standard deviation of the first arm between seeds, `spread` the larger one of both
    arms; both are at least the smallest difference that matters. What is better has a `p_value` of at most 0.05.
    """

    before: float
    after: float
    noise: float
    spread: float
    p_value: float | None
    better: bool
    seeds: int

    @property
    def gain(self) -> float:
        """How much higher the second arm scores."""
        return self.after - self.before


def compare(before: Sequence[float], after: Sequence[float], metric: str, rows: int | None = None) -> Comparison:
    """Compare paired scores, higher is better.

    Better means: the mean gain exceeds the noise band, and its p-value is at most 0.05. The band is the largest of: the
    standard deviation of the first arm between seeds; 0.02 (5 % of an error metric); and, since all seeds are scored on
    the same `rows` of validation, 1.64 standard errors of a score on that many rows. One pair can only give a gain,
    never a judgement.

    The p-value is that of the paired t-test; where that is not sure, of the first of two others that is: of the ranks,
    where over 3 seeds and more every score of the second arm is above all of the first (by chance 1 in 20), since a
    training that breaks differs so much between seeds that it would hide its own repair; and of a normal test, where
    neither arm differs between seeds by more than the least difference that matters, which then stands for its
    deviation.

    Raises:
        ValueError: when the arms are not of the same length, or empty.

    Source: Bouthillier et al. 2021, Accounting for Variance in Machine Learning Benchmarks; Mann & Whitney 1947.
    """
    if len(before) != len(after) or not before:
        raise ValueError(f"after must hold as many scores as before, but got {len(before)} and {len(after)}")
    first, second = np.asarray(before, float), np.asarray(after, float)
    gains = second - first
    least = max(least_effect(metric, first), SURE * standard_error(metric, np.r_[first, second], rows))
    noise, spread = max(_deviation(first), least), max(_deviation(first), _deviation(second), least)
    p_value = _p_value(first, second, least)
    return Comparison(
        float(first.mean()),
        float(second.mean()),
        noise,
        spread,
        p_value,
        bool(gains.mean() > noise) and p_value is not None and p_value <= SIGNIFICANT,
        len(gains),
    )


def _deviation(scores: Array) -> float:
    return float(scores.std(ddof=1)) if len(scores) > 1 else 0.0


def _p_value(first: Array, second: Array, least: float) -> float | None:
    """The one number by which a judgement is made, and that is shown beside it."""
    if len(first) < FEWEST_SEEDS:
        return None
    paired = _of_pairs(second - first)
    others = (_of_ranks(first, second, least), _of_a_known_noise(first, second, least))
    return next((p for p in (paired, *others) if p <= SIGNIFICANT), paired)


def _of_pairs(gains: Array) -> float:
    if float(gains.std()) < 1e-12:
        return 0.0 if gains.mean() > 0 else 1.0
    from scipy import stats

    return float(stats.ttest_1samp(gains, 0.0, alternative="greater").pvalue)


def _of_ranks(first: Array, second: Array, least: float) -> float:
    """Of the orders in which two arms can come, the share in which one lies above the other by chance; 1 if not."""
    apart = len(first) >= SEEDS_APART and second.min() > first.max() + least
    return 1 / math.comb(2 * len(first), len(first)) if apart else 1.0


def _of_a_known_noise(first: Array, second: Array, least: float) -> float:
    """The probability of such a mean gain by a noise of the size of what matters least; 1 where there is more noise."""
    if max(_deviation(first), _deviation(second)) > least or least <= 0:
        return 1.0
    return NormalDist().cdf(-float((second - first).mean()) / (least * math.sqrt(2 / len(first))))
