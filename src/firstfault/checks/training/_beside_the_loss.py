"""What a training came to where its loss does not tell: the returns of a loop that acts, the samples of a generator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from firstfault.probe.record import Record

OF_AN_ENVIRONMENT = ".step"
FEWEST_RETURNS, ERRORS = 30, 4.0  # the bounds of return_does_not_rise
NEARER, CLOSE, VARIED = 0.5, 0.2, 0.3  # the bounds of generator_far_from_data


def rise_of(values: Sequence[float], fewest: int = 0) -> tuple[float, float, float]:
    """The means of the first and of the last tenth, and how many standard errors lie between them."""
    tenth = max(fewest // 3, len(values) // 10)
    first, last = np.asarray(values[:tenth], float), np.asarray(values[-tenth:], float)
    error = float(np.hypot(first.std(ddof=1), last.std(ddof=1))) / tenth**0.5
    least = 1e-9 * max(1.0, abs(float(first.mean())))
    return float(first.mean()), float(last.mean()), float(last.mean() - first.mean()) / max(error, least)


def gain_of(values: Sequence[float], fewest: int = 0) -> tuple[float, float, float]:
    """The same of returns, of which a policy that learns at once has low ones in a few of its first episodes only.

    Their mean is that of two kinds then, and no mean tells it from chance. So where the last tenth lies higher, the
    ranks count too: those of the last third among those of the first tenth.
    """
    from scipy import stats

    first, last, rise = rise_of(values, fewest)
    if rise <= 0:
        return first, last, rise
    tenth, third = max(fewest // 3, len(values) // 10), max(fewest // 3, len(values) // 3)
    ranked = stats.mannwhitneyu(values[-third:], values[:tenth], alternative="greater", method="asymptotic")
    return first, last, max(rise, float(stats.norm.isf(max(ranked.pvalue, 1e-300))))


def are_rewards(record: Record) -> bool:
    """Whether what was read are rewards: a variable that only grows is a sum over the whole training."""
    apart = np.diff(np.asarray(record.rewards.values, float))
    return record.reward_of.endswith(OF_AN_ENVIRONMENT) or bool((apart > 0).any() and (apart < 0).any())


def gains(record: Record) -> bool:
    """Whether a training has learnt by what counts for it, whatever became of its loss."""
    values = record.rewards.values
    if len(values) >= FEWEST_RETURNS and np.isfinite(values).all() and are_rewards(record):
        return gain_of(values, FEWEST_RETURNS)[2] >= ERRORS
    return bool(record.generated) and all(
        seen.get("last", 1.0) <= NEARER * seen.get("first", 0.0) for seen in record.generated.values()
    )
