"""What is usual at an hour of the week, where enough weeks say so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from firstfault.metrics import Array
from firstfault.monitor.detect.batch import HOURS_OF_A_WEEK

WEEK = 7 * 86_400.0
SHRUNK_BY = 20.0
"""An hour with so many requests is believed half."""


@dataclass(frozen=True)
class Season:
    """By how much the mean of some values differs at each hour of the week `(168,)`."""

    offsets: Array

    def of(self, hours: Array) -> Array:
        """The offset at each hour `(N,)`."""
        return np.asarray(self.offsets[hours])


def covers(times: Array, weeks: float) -> bool:
    """Whether requests reach over so many weeks."""
    return len(times) > 0 and float(times.max() - times.min()) >= weeks * WEEK * 0.98


def season_of(values: Array, hours: Array) -> Season:
    """The season of values `(N,)` with mean 0, each hour drawn to 0 by how little it is known."""
    known = ~np.isnan(values)
    sums = np.bincount(hours[known], values[known], HOURS_OF_A_WEEK)
    counts = np.bincount(hours[known], minlength=HOURS_OF_A_WEEK)
    return Season(sums / (counts + SHRUNK_BY))


def season_of_rate(happened: Array, hours: Array) -> Season:
    """The rate at each hour of the week as a multiple of that of all."""
    known = ~np.isnan(happened)
    rate = max(float(happened[known].mean()), 1e-6) if known.any() else 1.0
    sums = np.bincount(hours[known], happened[known], HOURS_OF_A_WEEK)
    counts = np.bincount(hours[known], minlength=HOURS_OF_A_WEEK)
    believed = SHRUNK_BY / max(rate, 0.01) ** 0.5
    return Season((sums + rate * believed) / (counts + believed) / rate)
