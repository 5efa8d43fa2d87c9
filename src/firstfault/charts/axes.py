"""Scales and ticks of a chart: data to pixels, at round numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

FEWEST_DECADES = 2


@dataclass(frozen=True)
class Scale:
    """Maps data from [low, high] to pixels from [start, end], linearly or by the logarithm."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log10(low), math.log10(high), math.log10(max(value, self.low))
        share = (value - low) / (high - low)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)

    def ticks(self, about: int = 5) -> list[float]:
        """Round values within the scale, about so many."""
        return _decades(self.low, self.high, about) if self.log else _round_steps(self.low, self.high, about)


def fit(values: Sequence[float], start: float, end: float, *, log: bool = False, pad: float = 0.06) -> Scale:
    """The scale that holds all finite values with some air; logarithmic only where all are positive."""
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    if log:
        positive = [value for value in finite if value > 0]
        return (
            Scale(*_log_bounds(min(positive), max(positive)), start, end, True) if positive else Scale(0, 1, start, end)
        )
    if low == high:
        low, high = low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2
    air = (high - low) * pad
    return Scale(low - air, high + air, start, end)


def _log_bounds(low: float, high: float) -> tuple[float, float]:
    low, high = math.log10(low), math.log10(high)
    short = max(0.0, FEWEST_DECADES / 2 - (high - low)) / 2
    return 10 ** (low - short - 0.1), 10 ** (high + short + 0.1)


def _round_steps(low: float, high: float, about: int) -> list[float]:
    rough = (high - low) / about
    power = 10 ** math.floor(math.log10(rough)) if rough > 0 else 1.0
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def _decades(low: float, high: float, about: int) -> list[float]:
    first, last = math.ceil(math.log10(low)), math.floor(math.log10(high))
    if last - first >= 2:
        every = max(1, math.ceil((last - first) / about))
        return [10.0**exponent for exponent in range(first, last + 1, every)]
    for factors in ((1, 2, 5), (1, 3), (1,)):
        ticks = [factor * 10.0**exponent for exponent in range(first - 1, last + 2) for factor in factors]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= about + 1:
            break
    return ticks
