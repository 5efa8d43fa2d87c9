"""SafeML: how far the inputs of each predicted class are from those of the reference: accept, ask, hand over.

Of the last requests that got a class, the empirical distribution of each column that matters is compared with that of
the reference's requests of that class (Kolmogorov–Smirnov's distance, in the mean over columns). Its thresholds are
quantiles of the same distance between the reference and samples of itself.

Source: Aslansefat et al., SafeML: safety monitoring of machine learning classifiers through statistical difference
measures (IMBSA 2020).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    waiting: Array = field(init=False)
    """The requests since the last decision `(n, D)`."""
    said: Decision | None = None
    """The last decision."""

    def __post_init__(self) -> None:
        self.waiting = np.zeros((0, len(self.columns)))

    def add(self, rows: Array) -> Iterator[tuple[int, Decision]]:
        """Take requests `(n, D)`; after each `WINDOW` of them, the place of the last one, and a decision."""
        before, rows = len(self.waiting), np.concatenate([self.waiting, rows])
        whole = len(rows) - len(rows) % WINDOW
        self.waiting = rows[whole:]
        for start in range(0, whole, WINDOW):
            self.said = self.decide(distance(self.columns, rows[start : start + WINDOW]))
            yield start + WINDOW - 1 - before, self.said

    def decide(self, far: float) -> Decision:
        """What a distance says."""
        return Decision.HAND_OVER if far > self.hands_over else Decision.ASK if far > self.asks else Decision.ACCEPT


def distance(columns: tuple[Array, ...], rows: Array) -> float:
    """The mean over columns of the largest difference of two empirical distributions; rows are `(n, D)`."""
    values = np.sort(rows, axis=0)  # what is not known comes last
    known = ~np.isnan(values)
    counts = known.sum(0)
    each = 1 / np.maximum(counts, 1)
    steps = np.arange(1, len(values) + 1)[:, None] / np.maximum(counts, 1)
    usual = np.stack([_below(reference, column) for reference, column in zip(columns, values.T, strict=True)], axis=1)
    apart = np.where(known, np.maximum(np.abs(steps - usual), np.abs(steps - each - usual)), 0.0).max(0)
    looked_at = (counts > 0) & np.array([len(reference) > 0 for reference in columns])
    return float(np.mean(apart[looked_at])) if looked_at.any() else 0.0


def _below(reference: Array, values: Array) -> Array:
    """The share of a sorted reference that is not above each value."""
    return np.searchsorted(reference, values, side="right") / max(1, len(reference))


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
    classes = np.array(batch.classes, dtype=object)
    for column, name in enumerate(names):
        places = np.flatnonzero(batch.uniform & (classes == name))
        for last, decision in each[name].add(rows[places]):
            found[places[last], column] = float(decision is Decision.HAND_OVER)
    return found
