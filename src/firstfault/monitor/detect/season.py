"""What is usual at an hour of the week, where enough weeks say so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from firstfault.metrics import Array
from firstfault.monitor.detect.batch import HOURS_OF_A_WEEK

WEEK = 7 * 86_400.0
DAY_HOURS = 24
SHRUNK_BY, EVENTS = 20.0, 5.0
"""An hour with so many requests, or so many events, is believed half."""


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
    """The season of values `(N,)` with mean 0: by the hour of the day, then by that of the week."""
    return Season(_levels(values, hours, 0.0, SHRUNK_BY))


def season_of_rate(happened: Array, hours: Array) -> Season:
    """The rate at each hour of the week as a multiple of that of all."""
    known = happened[~np.isnan(happened)]
    rate = max(float(known.mean()), 1e-6) if len(known) else 1.0
    return Season(_levels(happened, hours, rate, EVENTS / rate) / rate)


def _levels(values: Array, hours: Array, mean: float, believed: float) -> Array:
    """The mean at each hour of the week `(168,)`, drawn to that of its hour of the day, and this to that of all."""
    known = ~np.isnan(values)
    values, hours = values[known], hours[known]
    days = np.bincount(hours % DAY_HOURS, values, DAY_HOURS), np.bincount(hours % DAY_HOURS, minlength=DAY_HOURS)
    of_day = (days[0] + mean * believed) / (days[1] + believed)
    week = np.bincount(hours, values, HOURS_OF_A_WEEK), np.bincount(hours, minlength=HOURS_OF_A_WEEK)
    return np.asarray((week[0] + np.tile(of_day, 7) * believed) / (week[1] + believed))
