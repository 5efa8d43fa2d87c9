"""Two arms over the same seeds: is the difference more than the noise?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEAST_EFFECT = 0.02
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Comparison:
    """Means of both arms, the noise between seeds, the one-sided paired p-value, and the judgement."""

    before: float
    after: float
    noise: float
    p_value: float | None
    better: bool


def compare(before: Sequence[float], after: Sequence[float], metric: str) -> Comparison:
    """Compare paired scores, higher is better.

    Better means: the mean gain exceeds the noise band (the standard deviation of the unchanged arm, at
    least 0.02, or 5 % of an error metric), and either the paired t-test gives p < 0.05 or every seed
    gains more than the band. One seed can only give a gain, never a p-value.
    """
    first, second = np.asarray(before, float), np.asarray(after, float)
    gains = second - first
    noise = max(float(first.std(ddof=1)) if len(first) > 1 else 0.0, least_effect(metric, first))
    p_value = _p_value(gains)
    clear = bool(gains.mean() > noise)
    sure = bool((p_value is not None and p_value < SIGNIFICANT) or gains.min() > noise)
    return Comparison(float(first.mean()), float(second.mean()), noise, p_value, clear and sure and len(gains) > 1)


def least_effect(metric: str, scores: np.ndarray) -> float:  # type: ignore[type-arg]
    """The smallest difference that matters for a metric."""
    if metric in ("mse", "mae"):
        return 0.05 * float(np.abs(scores).mean())
    return LEAST_EFFECT


def _p_value(gains: np.ndarray) -> float | None:  # type: ignore[type-arg]
    if len(gains) < 2:
        return None
    if float(gains.std()) < 1e-12:
        return 0.0 if gains.mean() > 0 else 1.0
    from scipy import stats

    return float(stats.ttest_1samp(gains, 0.0, alternative="greater").pvalue)
