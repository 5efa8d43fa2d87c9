"""Whether too many requests are lost on their way to the store: are we seeing right? Counts of all requests suffice."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from firstfault.monitor.detect.bets import CoinBets
from firstfault.monitor.detect.ledger import Ledger, blocks_of
from firstfault.monitor.incidents import Evidence, Incident
from firstfault.monitor.record import Record
from firstfault.monitor.store import Store

USUAL, OFTEN = 0.01, (0.03, 0.1, 0.4)
"""One in a hundred may be lost; alternatives are bet on."""
WEIGHT = 0.05
"""Of all evidence."""
MOST_REQUESTS = 200
"""References of an incident that is about those that are not there."""
NAME = "telemetry"


class Losses:
    """The evidence that requests are lost, and the incident that is open."""

    def __init__(self, alpha: float, closes: float) -> None:
        self.alpha, self.closes = alpha, closes
        self.bets = CoinBets(USUAL, OFTEN)
        self.ledger = Ledger(np.full(self.bets.count, WEIGHT / self.bets.count), self.bets.slack)
        self.totals: tuple[int, int] | None = None
        """Lost ones and all, when they were counted last."""
        self.open: Incident | None = None

    def feed(self, store: Store, records: list[Record], now: float) -> list[Incident]:
        """Count anew; the incident that opened or closed.

        Raises:
            StoreError: when the database does not answer.
        """
        lost, seen = sum(store.losses().values()), store.counted().get("requests", 0)
        before, self.totals = self.totals or (0, 0), (lost, seen)
        news = max(0, lost - before[0]), max(0, seen - before[1])
        if not sum(news):
            return []
        log = np.log(np.array([[each / USUAL, (1 - each) / (1 - USUAL)] for each in OFTEN]))
        for block in blocks_of((log @ np.array(news, dtype=float))[None, :], np.array([now])):
            self.ledger.add(block)
        if self.open is None:
            return self._opened(news, records, now)
        return self._closed(now)

    def _opened(self, news: tuple[int, int], records: list[Record], now: float) -> list[Incident]:
        if self.ledger.evidence() < 1 / self.alpha:
            return []
        self.ledger.back[:] = 0.0
        lost, seen = news
        message = f"{lost} of {lost + seen} requests were lost on their way to the store, where {USUAL:.0%} may be"
        model = records[-1].model if records else "model"
        log_e = float(np.log(self.ledger.evidence()))
        began = min(float(self.ledger.since[int(np.argmax(self.ledger.sums))]), now)
        evidence = (Evidence(NAME, "losses", log_e, began, message),)
        shown = tuple(record.raw for record in records[-MOST_REQUESTS:])
        self.open = Incident(
            f"{model}-lost-{int(now * 1000):x}",
            model,
            NAME,
            began,
            now,
            log_e,
            message,
            requests=shown,
            evidence=evidence,
        )
        return [self.open]

    def _closed(self, now: float) -> list[Incident]:
        assert self.open is not None
        if float(self.ledger.back[int(np.argmax(self.ledger.sums))]) < -np.log(self.closes):
            return []
        closed, self.open = msgspec.structs.replace(self.open, closed=now), None
        self.ledger.forget(np.ones(self.bets.count, dtype=bool))
        return [closed]

    def state(self) -> dict[str, Any]:
        """What is known so far, as JSON values."""
        return {"ledger": self.ledger.state(), "totals": self.totals, "open": msgspec.to_builtins(self.open)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what was known."""
        self.ledger.restore(state["ledger"])
        self.totals = None if state["totals"] is None else tuple(state["totals"])
        self.open = None if state["open"] is None else msgspec.convert(state["open"], Incident)
