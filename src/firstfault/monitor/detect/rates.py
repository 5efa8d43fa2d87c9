"""How often requests fail or are refused. Counts of all requests suffice: what fails is always kept."""

from __future__ import annotations

import numpy as np

from firstfault.metrics import Array
from firstfault.monitor.detect.batch import Batch
from firstfault.monitor.detect.bets import coin_bets
from firstfault.monitor.detect.monitor import CoinMonitor
from firstfault.monitor.detect.season import season_of_rate
from firstfault.monitor.record import Outcome

EVENTS = {"errors": Outcome.ERROR, "refusals": Outcome.REFUSED}
LEAST, LEAST_MARKED = 0.001, 0.005
"""One failure in a thousand is nobody's incident."""


def _seen(batch: Batch) -> Array:
    return np.stack([batch.ended(outcome) for outcome in EVENTS.values()], axis=1)


def bad_events(reference: Batch, seasonal: bool) -> CoinMonitor:
    """The monitor of errors and refusals."""
    seen, size = _seen(reference), _size(reference)
    seasons = tuple(season_of_rate(column, reference.hours) for column in seen.T) if seasonal else ()
    bets = tuple(coin_bets(float(column.sum()), size, least=LEAST) for column in seen.T)
    return CoinMonitor("bad_events", 3.0, tuple(EVENTS), _seen, bets, kept=True, seasons=seasons)


def marks(reference: Batch) -> CoinMonitor:
    """The monitor of requests that the user's own code has marked."""

    def seen(batch: Batch) -> Array:
        return np.array([bool(record.marks) for record in batch.records], dtype=float)[:, None]

    happened = seen(reference)[:, 0]
    usual = int((reference.uniform & (happened == 0)).sum())
    bets = coin_bets(float(happened.sum()), float(happened.sum()) + usual / reference.share, least=LEAST_MARKED)
    words = "your code has marked {now:.1%} of the requests, where {usual:.1%} are usual"
    return CoinMonitor("marks", 1.0, ("marks",), seen, (bets,), kept=True, words=words)


def _size(reference: Batch) -> float:
    """How many requests the reference stands for."""
    failed = reference.ended(*EVENTS.values()) > 0
    usual = int((reference.uniform & ~failed).sum())
    return float(failed.sum()) + usual / reference.share
