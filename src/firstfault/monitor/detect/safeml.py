"""SafeML: how far the inputs of each predicted class are from those of the reference: accept, ask, hand over.

Of the last requests that got a class, the empirical distribution of each column that matters is compared with that of
the reference's requests of that class (Kolmogorov–Smirnov's distance, in the mean over columns). Its thresholds are
quantiles of the same distance between the reference and samples of itself.

Source: Aslansefat et al., SafeML: safety monitoring of machine learning classifiers through statistical difference
measures (IMBSA 2020).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from firstfault.metrics import Array
from firstfault.monitor.detect.answers import Scores
from firstfault.monitor.detect.batch import Batch
from firstfault.monitor.detect.bets import CoinBets
from firstfault.monitor.detect.dependence import Dependence
from firstfault.monitor.detect.monitor import CoinMonitor

WINDOW = 100
"""Requests of a class that are compared at once."""
FEWEST = 200
"""Requests of a class: two windows."""
DRAWN = 200
"""Windows of the reference, for its 99.5th percentile."""
ASKS, HANDS_OVER = 0.95, 0.995
"""Quantiles of the distance between the reference and samples of itself."""
USUAL, OFTEN = 0.02, (0.3, 0.8)
"""Of windows, so many hand over by chance; more often than that is bet on."""


class Decision(StrEnum):
    """What SafeML says of a class's answers."""

    ACCEPT = "accept"
    ASK = "ask"
    HAND_OVER = "hand over"


@dataclass
class Judge:
    """Compares the inputs that got one class with those of the reference."""

    columns: tuple[Array, ...]
    """The reference's values of each column, in their order."""
    asks: float
    hands_over: float
    recent: deque[Array] = field(default_factory=lambda: deque(maxlen=WINDOW))
    since: int = 0
    said: Decision | None = None
    """The last decision."""

    def add(self, row: Array) -> Decision | None:
        """Take one request; a decision after each `WINDOW` of them."""
        self.recent.append(row)
        self.since += 1
        if self.since < WINDOW:
            return None
        self.since, self.said = 0, self.decide(distance(self.columns, np.stack(self.recent)))
        return self.said

    def decide(self, far: float) -> Decision:
        """What a distance says."""
        return Decision.HAND_OVER if far > self.hands_over else Decision.ASK if far > self.asks else Decision.ACCEPT


def distance(columns: tuple[Array, ...], rows: Array) -> float:
    """The mean over columns of the largest difference of two empirical distributions; rows are `(n, D)`."""
    found = []
    for place, reference in enumerate(columns):
        values = np.sort(rows[~np.isnan(rows[:, place]), place])
        if not len(values) or not len(reference):
            continue
        steps = np.arange(1, len(values) + 1) / len(values)
        usual = np.searchsorted(reference, values, side="right") / len(reference)
        found.append(float(max(np.max(np.abs(steps - usual)), np.max(np.abs(steps - 1 / len(values) - usual)))))
    return float(np.mean(found)) if found else 0.0


def judges(reference: Batch, looked_at: Scores, known: Dependence) -> dict[str, Judge]:
    """A judge for each class that the reference has often enough."""
    sample = reference.part(reference.uniform)
    matter = _mattering(sample, known)
    classes = np.array([name or "" for name in sample.classes], dtype=object)
    rng, found = np.random.default_rng(0), {}
    for name in looked_at.classes:
        rows = sample.numbers[classes == name][:, matter]
        if len(rows) < FEWEST or not rows.shape[1]:
            continue
        columns = tuple(np.sort(column[~np.isnan(column)]) for column in rows.T)
        drawn = [distance(columns, rows[rng.choice(len(rows), WINDOW, replace=False)]) for _ in range(DRAWN)]
        asks, hands_over = np.quantile(drawn, [ASKS, HANDS_OVER])
        found[name] = Judge(columns, float(asks), float(hands_over))
    return found


def _mattering(sample: Batch, known: Dependence) -> Array:
    return np.flatnonzero(known.columns[: sample.numbers.shape[1]])


def safeml(reference: Batch, each: dict[str, Judge], known: Dependence, *, opens: bool) -> CoinMonitor | None:
    """The monitor of windows that hand over; without `opens`, it only says so. None where no class is known enough."""
    if not each:
        return None
    names = tuple(each)
    matter = _mattering(reference, known)

    def seen(batch: Batch) -> Array:
        return _decided(batch, each, names, batch.numbers[:, matter])

    words = "SafeML hands over {now:.0%} of the windows of class {place}, where {usual:.0%} may be"
    bets = tuple(CoinBets(USUAL, OFTEN) for _ in names)
    return CoinMonitor("safeml", 1.0 if opens else 0.0, names, seen, bets, words=words)


def _decided(batch: Batch, each: Mapping[str, Judge], names: tuple[str, ...], rows: Array) -> Array:
    found = np.full((len(batch), len(names)), np.nan)
    for at, name in enumerate(batch.classes):
        if (
            name is not None
            and batch.uniform[at]
            and name in each
            and (decision := each[name].add(rows[at])) is not None
        ):
            found[at, names.index(name)] = float(decision is Decision.HAND_OVER)
    return found
