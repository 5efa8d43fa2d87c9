"""What the record of a training shows, as a few numbers: how large its steps were, how far the loss fell."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from firstfault.checks.training._beside_the_loss import gains
from firstfault.probe.record import Record

# Measured on 40 sound programs of benchmarks/localise.py, and on 20 each of too low and too high a rate.
SMALL_STEP = 3e-4  # of the weights: the median update is 2e-3 to 3e-2, at too low a rate 7e-7 to 3e-5
LARGE_STEP = 1e-1  # of the weights: four times the largest of the sound medians
LARGE_FIRST = 0.5  # of the weights: the largest of the first updates is 0.02 to 0.11, at too high a rate 3.5 to 83
LEAP = 3.0  # times the first loss, above which a sound one never rose; at too high a rate up to 75


@dataclass(frozen=True)
class Signs:
    """What a record shows of one training, as a few numbers."""

    ratio: float
    ratio_first: float
    drop: float
    slope_share: float
    worst: float
    decayed: float

    @property
    def too_small(self) -> bool:
        """Whether the steps are far smaller than those of healthy trainings."""
        return self.ratio < SMALL_STEP

    @property
    def too_large(self) -> bool:
        """Whether the steps are far larger than those of healthy trainings, or the loss leapt above its start."""
        return self.ratio > LARGE_STEP or self.ratio_first > LARGE_FIRST or self.worst > LEAP


def signs(record: Record) -> Signs:
    """Read the signs from a record with at least 4 steps.

    ratio: median update ratio; ratio_first: the largest of the first 5; drop: relative fall of the loss from the first
    tenth to the last; slope_share: share of that fall that the last quarter still made; worst: highest smoothed loss
    over the initial; decayed: last learning rate over the highest.
    """
    loss = np.asarray(record.loss, float)
    width = max(1, len(loss) // 10)
    smooth = np.convolve(loss, np.ones(width) / width, "valid")
    start, end = abs(smooth[0]) + 1e-12, smooth[-1]
    quarter = smooth[int(len(smooth) * 0.75)]
    fall = smooth[0] - end
    ratios = np.asarray(record.update_ratio, float)
    rates = np.asarray(record.lr, float)
    return Signs(
        ratio=_of_known(np.median, ratios),
        ratio_first=_of_known(np.max, ratios[:5]),
        drop=float(fall / start),
        slope_share=float((quarter - end) / fall) if fall > 1e-9 else 0.0,
        worst=_of_known(np.max, smooth) / start,
        decayed=float(rates[-1] / max(rates.max(), 1e-30)) if len(rates) else 1.0,
    )


def _of_known(statistic: Callable[[Any], Any], values: Any) -> float:
    known = values[~np.isnan(values)]
    return float(statistic(known)) if len(known) else math.nan


def learns(record: Record, fall: float = 0.02) -> bool:
    """Whether the loss of a record fell by 2 % or more, or what counts in its place; fewer than 10 steps can't tell."""
    fell = record.steps < 10 or record.first_nonfinite is not None or not signs(record).drop < fall
    return fell or gains(record)


def pushed(record: Record) -> bool:
    """Whether any sampled gradient was not zero; True where none was sampled."""
    return not len(record.grad_norm) or any(norm != 0 for norm in record.grad_norm.values)
