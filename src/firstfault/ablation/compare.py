"""Two arms over the same seeds: is the difference more than the noise?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from firstfault.metrics import Array
from firstfault.training.scores import least_effect, standard_error

SIGNIFICANT = 0.05
SURE = 1.64
FEWEST_SEEDS = 2
SEEDS_APART = 3


@dataclass(frozen=True)
class Comparison:
    """Means of both arms, the noise band, the one-sided paired p-value, and the judgement.

    `noise` is the standard deviation of the first arm between seeds, `spread` the larger one of both
    arms; both are at least the smallest difference that matters.
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

    Better means: the mean gain exceeds the noise band, and either the one-sided paired t-test gives p < 0.05 or every
    seed gains more than the band. The band is the largest of: the standard deviation of the first arm between seeds;
    0.02 (5 % of an error metric); and, since all seeds are scored on the same `rows` of validation, 1.64 standard
    errors of a score on that many rows. Better is also a second arm of which, over 3 seeds and more, every score is
    above all of the first arm's (by chance 1 in 20): a training that breaks differs so much between seeds that it would
    hide its own repair. One pair can only give a gain, never a judgement.

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
    p_value = _p_value(gains)
    clear = bool(gains.mean() > noise)
    sure = bool((p_value is not None and p_value < SIGNIFICANT) or gains.min() > noise)
    apart = len(gains) >= SEEDS_APART and bool(second.min() > first.max() + least)
    return Comparison(
        float(first.mean()),
        float(second.mean()),
        noise,
        spread,
        p_value,
        (clear and sure and len(gains) >= FEWEST_SEEDS) or apart,
        len(gains),
    )


def _deviation(scores: Array) -> float:
    return float(scores.std(ddof=1)) if len(scores) > 1 else 0.0


def _p_value(gains: Array) -> float | None:
    if len(gains) < FEWEST_SEEDS:
        return None
    if float(gains.std()) < 1e-12:
        return 0.0 if gains.mean() > 0 else 1.0
    from scipy import stats

    return float(stats.ttest_1samp(gains, 0.0, alternative="greater").pvalue)
