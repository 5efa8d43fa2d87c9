"""Are we seeing right: shares of the arms, clocks, and what the serving process uses. Needs the sample."""

from __future__ import annotations

from collections import Counter

import numpy as np

from firstfault.metrics import Array
from firstfault.monitor.detect.batch import Batch
from firstfault.monitor.detect.bets import coin_bets
from firstfault.monitor.detect.monitor import CoinMonitor
from firstfault.monitor.record import Record
from firstfault.monitor.segments import begin_of

RUNNING = 0.05
"""An arm with a smaller share is one of a rollout that begins."""
LEAST_OFF = 0.05
"""One clock in twenty may be off: a replica among many."""
MOST_OFF = 2 * 3_600.0
"""A record is written in the hour of its request, or soon after."""
GROWN, THROTTLED = 1.5, 0.2
"""Memory beyond so many times the most that was usual, and so much more of a second throttled."""
LEAST = 0.02
"""One second in fifty may be beyond."""


def arms(reference: Batch) -> CoinMonitor | None:
    """The monitor of the arms' shares; None where no rollout runs: one that begins is no incident."""
    counts = Counter(str(record.arm) for record in reference.records)
    names = sorted(name for name, n in counts.items() if n >= RUNNING * len(reference))
    if len(names) < 2:
        return None

    def seen(batch: Batch) -> Array:
        answered = np.array([str(record.arm) for record in batch.records])
        return np.stack([(answered == name).astype(float) for name in names], axis=1)

    sample = reference.part(reference.uniform)
    bets = tuple(coin_bets(float(column.sum()), len(sample), ratios=(1.2, 2.0)) for column in seen(sample).T)
    words = "{place}: {now:.1%} of the requests where at most {usual:.1%} are usual"
    return CoinMonitor("arms", 1.0, tuple(names), seen, bets, words=words)


def clocks(reference: Batch) -> CoinMonitor:
    """The monitor of clocks: requests that say to be of another time than that at which they were written."""

    def seen(batch: Batch) -> Array:
        return np.array([_is_off(record) for record in batch.records]).reshape(len(batch), 1)

    happened = seen(reference)
    known = int((~np.isnan(happened)).sum())
    bets = coin_bets(float(np.nansum(happened)), max(known, 100), least=LEAST_OFF)
    words = "the clocks of {now:.1%} of the requests are off by hours, where {usual:.1%} may be"
    return CoinMonitor("clocks", 0.5, ("clock",), seen, (bets,), words=words)


def _is_off(record: Record) -> float:
    """Whether a request's time is far from the hour in which it was written; NaN where nobody can say."""
    if record.way == "logs":
        return float("nan")
    hour = begin_of(record.raw[:13])
    return float("nan") if hour is None else float(not hour - MOST_OFF <= record.time <= hour + 3_600 + MOST_OFF)


def resources(reference: Batch) -> CoinMonitor | None:
    """The monitor of memory and throttling; None where they are not known."""
    rss, throttled = _of(reference, "rss"), _of(reference, "throttled")
    if np.isnan(rss).all():
        return None
    most = np.nanmax(rss) * GROWN
    more = (0.0 if np.isnan(throttled).all() else float(np.nanmax(throttled))) + THROTTLED

    def seen(batch: Batch) -> Array:
        memory, waits = _of(batch, "rss"), _of(batch, "throttled")
        beyond = np.where(np.isnan(memory), np.nan, memory > most), np.where(np.isnan(waits), np.nan, waits > more)
        return np.stack(beyond, axis=1)

    bets = (coin_bets(0.0, len(reference), least=LEAST),) * 2
    words = "{place}: beyond what is usual at {now:.0%} of the requests, where {usual:.0%} may be"
    return CoinMonitor("resources", 0.5, ("memory", "throttling"), seen, bets, words=words)


def _of(batch: Batch, name: str) -> Array:
    found = [None if record.resources is None else getattr(record.resources, name) for record in batch.records]
    return np.array([np.nan if value is None else float(value) for value in found])
