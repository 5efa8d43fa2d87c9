"""Two arms over the same seeds: is the difference more than the noise?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

LEAST_EFFECT = 0.02
LEAST_ERROR_SHARE = 0.05
SIGNIFICANT = 0.05
FEWEST_SEEDS = 2


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


def compare(before: Sequence[float], after: Sequence[float], metric: str) -> Comparison:
    """Compare paired scores, higher is better.

    Better means: the mean gain exceeds the noise band (the standard deviation of the first arm, at
    least 0.02, or 5 % of an error metric), and either the one-sided paired t-test gives p < 0.05 or
    every seed gains more than the band. One pair can only give a gain, never a judgement.

    Raises:
        ValueError: when the arms are not of the same length, or empty.

    Source: Bouthillier et al. 2021, Accounting for Variance in Machine Learning Benchmarks (paired over seeds).
    """
    if len(before) != len(after) or not before:
        raise ValueError(f"compare takes as many scores before as after, at least one, but got {len(before)} and {len(after)}")
    first, second = np.asarray(before, float), np.asarray(after, float)
    gains = second - first
    least = least_effect(metric, first)
    noise, spread = max(_deviation(first), least), max(_deviation(first), _deviation(second), least)
    p_value = _p_value(gains)
    clear = bool(gains.mean() > noise)
    sure = bool((p_value is not None and p_value < SIGNIFICANT) or gains.min() > noise)
    return Comparison(
        float(first.mean()), float(second.mean()), noise, spread, p_value,
        clear and sure and len(gains) >= FEWEST_SEEDS, len(gains),
    )


def least_effect(metric: str, scores: Any) -> float:
    """The smallest difference that matters for a metric, around some scores."""
    if metric in ("mse", "mae"):
        return LEAST_ERROR_SHARE * float(np.abs(scores).mean())
    return LEAST_EFFECT


def _deviation(scores: Any) -> float:
    return float(scores.std(ddof=1)) if len(scores) > 1 else 0.0


def _p_value(gains: Any) -> float | None:
    if len(gains) < FEWEST_SEEDS:
        return None
    if float(gains.std()) < 1e-12:
        return 0.0 if gains.mean() > 0 else 1.0
    from scipy import stats

    return float(stats.ttest_1samp(gains, 0.0, alternative="greater").pvalue)
