"""One model under watch: the evidence of all its monitors, the incident that is open, and the requests that show it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
import numpy as np

from firstfault.metrics import Array
from firstfault.monitor.detect.batch import Batch
from firstfault.monitor.detect.inputs import InputMonitor
from firstfault.monitor.detect.ledger import BLOCK, Ledger, blocks_of
from firstfault.monitor.detect.memory import Memory
from firstfault.monitor.detect.monitor import Monitor
from firstfault.monitor.detect.reference import LABEL_DRIVEN, Reference
from firstfault.monitor.detect.settings import Detection
from firstfault.monitor.incidents import Evidence, Incident
from firstfault.monitor.record import Record

WEIGHT_OF_LABELS = 5.0
"""Kept for the monitor of labels, which may come later than the others."""
ESTIMATE = "estimated_accuracy"
SECOND = 1e-2
"""A monitor with so much of the evidence that opens an incident belongs to the same one."""
LATEST_LABELS = 200
"""Labels that say how often it is wrong now."""
SHORT_SECONDS = 30.0
"""What is slow for seconds and comes back is no incident."""
ALSO_BACK = 2.0
"""The logarithm of the evidence that what passed beside is as usual again."""
SILENCED = 1e3
"""Evidence that a calibration doesn't transfer, from which on the estimate is silent."""


class Watch:
    """The state of one model's detection."""

    def __init__(self, model: str, settings: Detection, reference: Reference) -> None:
        self.model, self.settings, self.reference = model, settings, reference
        self.failures = reference.failures
        self.monitors: list[Monitor] = []
        self.ledger = Ledger(np.zeros(0), np.zeros(0))
        self.all_weights = WEIGHT_OF_LABELS + sum(monitor.weight for monitor in reference.monitors)
        self.bets: list[tuple[int, int]] = []
        """The monitor and the column of each bet."""
        self.open: Incident | None = None
        self.passed, self.peaks = np.zeros(0, dtype=bool), np.zeros(0)
        self.opener = (0, 0)
        """The monitor and the column that opened the incident."""
        self.places: list[slice] = []
        """Where the bets of each monitor lie."""
        self.of_latency = np.zeros(0, dtype=bool)
        """Which bets are on latencies."""
        self.memory = Memory()
        self.silent = ""
        for monitor in reference.monitors:
            self.extend(monitor)

    def extend(self, monitor: Monitor) -> None:
        """Add a monitor, whose bets begin now."""
        at = len(self.monitors)
        self.monitors.append(monitor)
        total = sum(monitor.counts)
        new = Ledger(np.full(total, monitor.weight / self.all_weights / total), monitor.slack)
        for name in ("weights", "slack", "sums", "best", "back", "since"):
            setattr(self.ledger, name, np.concatenate([getattr(self.ledger, name), getattr(new, name)]))
        self.passed = np.concatenate([self.passed, np.zeros(total, dtype=bool)])
        self.peaks = np.concatenate([self.peaks, np.zeros(total)])
        self.of_latency = np.concatenate([self.of_latency, np.full(total, monitor.name == "latency")])
        self.bets += [(at, column) for column, count in enumerate(monitor.counts) for _ in range(count)]
        self.places.append(slice(len(self.bets) - total, len(self.bets)))

    def feed(self, records: Sequence[Record], *, late: bool = False) -> list[Incident]:
        """Look at requests in their order; incidents that opened or closed, in the order in which they did.

        Args:
            records: of this model.
            late: whether they were seen before, and have got their labels now.
        """
        batch = Batch(records, self.reference.schema)
        looks = [self._look_and_bet(monitor, batch, late) for monitor in self.monitors]
        log = np.concatenate([np.zeros((len(batch), 0)), *(log for _, log in looks)], axis=1)
        found: list[Incident] = []
        self.memory.add_values([seen for seen, _ in looks])
        for start, block in zip(range(0, len(batch), BLOCK), blocks_of(log, batch.times), strict=True):
            part = slice(start, start + BLOCK)
            self.memory.go_on(records[part], self._shows(log[part]), late=late)
            self.ledger.add(block)
            found += self._judge(float(batch.times[part][-1]))
        if self.open is not None:
            self.open = msgspec.structs.replace(self.open, requests=self.memory.since(self.open.began))
        return found

    def _look_and_bet(self, monitor: Monitor, batch: Batch, late: bool) -> tuple[Array | None, Array]:
        """What a monitor sees, None where it does not look, and the logarithms of its bets' factors."""
        nothing = np.full((len(batch), sum(monitor.counts)), np.nan)

        def work() -> tuple[Array | None, Array]:
            seen = self._look(monitor, batch, late)
            return seen, nothing if seen is None else monitor.bet(batch, seen)

        return self.failures.spared(monitor.name, work) or (None, nothing)

    def _look(self, monitor: Monitor, batch: Batch, late: bool) -> Array | None:
        if late and monitor.name not in LABEL_DRIVEN:
            return None
        if monitor.name == ESTIMATE and (self.silent or monitor is not self._estimate()):
            return None
        return monitor.look(batch)

    def _estimate(self) -> Monitor | None:
        """The latest monitor of the estimated accuracy: labels that come late make another one."""
        return next((monitor for monitor in reversed(self.monitors) if monitor.name == ESTIMATE), None)

    def _shows(self, log: Array) -> Array:
        """How much each request shows what the strongest bet says `(n,)`."""
        shown = log[:, np.argmax(self.ledger.sums * self.ledger.weights)]
        return np.where(np.isnan(shown), 0.0, shown)

    def _judge(self, now: float) -> list[Incident]:
        self._listen_to_calibration()
        if self.open is not None:
            self.peaks = np.maximum(self.peaks, self.ledger.sums)
            self._join()
            return self._closed(now)
        if self._shares(now).sum() < 1 / self.settings.alpha or self._is_another_population(now):
            return []
        shares = self._shares(now)
        self.passed, self.peaks = shares >= SECOND / self.settings.alpha, self.ledger.sums.copy()
        self.ledger.back[:] = 0.0
        self.opener = self.bets[int(np.argmax(shares))]
        self.open = self._incident(now)
        return [self.open]

    def _is_another_population(self, now: float) -> bool:
        """Whether what passed are columns that moved with all the others: their evidence is let go of."""
        for at, monitor in enumerate(self.monitors):
            if isinstance(monitor, InputMonitor):
                self._let_go(at, monitor, now)
        return bool(self._shares(now).sum() < 1 / self.settings.alpha)

    def _shares(self, now: float) -> Array:
        """What each bet adds to the evidence of all; latencies that have been off for seconds alone add nothing."""
        shares = self.ledger.weights * self.ledger.sums
        shares[self.of_latency & (now - self.ledger.since < SHORT_SECONDS)] = 0.0
        return np.asarray(shares)

    def _let_go(self, at: int, monitor: InputMonitor, now: float) -> None:
        shares = self.ledger.weights * self.ledger.sums
        for bet in range(self.places[at].start, self.places[at].stop):
            if shares[bet] >= SECOND / self.settings.alpha:
                column, began = self.bets[bet][1], float(self.ledger.since[bet])
                moves = partial(monitor.moves_with_population, column, began, now)
                if self.failures.spared(monitor.name, moves):
                    self.ledger.forget(np.array([key == (at, column) for key in self.bets]))

    def _listen_to_calibration(self) -> None:
        place = next((at for at, monitor in enumerate(self.monitors) if monitor.name == "calibration"), None)
        if place is None or self.silent:
            return
        if self.ledger.sums[self.places[place]].max() >= SILENCED / self.settings.alpha * SECOND:
            self.silent = self._says(place, 0, LATEST_LABELS)
            for at, monitor in enumerate(self.monitors):
                if monitor.name == ESTIMATE:
                    self.ledger.forget(self.places[at])

    def _join(self) -> None:
        """Add what has passed since the incident opened: the same requests, the same cause."""
        assert self.open is not None
        new = (self.ledger.weights * self.ledger.sums >= 1 / self.settings.alpha) & ~self.passed
        if not new.any():
            return
        self.ledger.back[new] = 0.0
        before = {self.bets[bet] for bet in np.flatnonzero(self.passed)}
        self.passed |= new
        if {self.bets[bet] for bet in np.flatnonzero(new)} - before:
            self.open = msgspec.structs.replace(self.open, evidence=self._evidence())

    def _closed(self, now: float) -> list[Incident]:
        assert self.open is not None
        if not self._is_usual_again():
            return []
        closed = msgspec.structs.replace(self.open, closed=now, requests=self.memory.since(self.open.began))
        self.ledger.forget(np.ones(len(self.bets), dtype=bool))
        self.open, self.passed = None, np.zeros(len(self.bets), dtype=bool)
        return [closed]

    def _is_usual_again(self) -> bool:
        """Whether the requests speak against what opened it, and not for what passed beside; or nobody bets on it."""
        if not self.passed.any():
            return True
        first, *others = self._best_bets()
        opener = self.ledger.back[first] >= -np.log(self.settings.closes)
        return bool(opener and all(self.ledger.back[bet] >= ALSO_BACK for bet in others))

    def _best_bets(self) -> list[int]:
        """Of each column that passed, the bet with most evidence since; that of what opened it first."""
        best: dict[tuple[int, int], int] = {}
        for bet in np.flatnonzero(self.passed):
            key = self.bets[bet]
            if key not in best or self.peaks[bet] > self.peaks[best[key]]:
                best[key] = int(bet)
        key = self.opener if self.opener in best else next(iter(best))
        return [best[key], *(bet for other, bet in best.items() if other != key)]

    def _evidence(self) -> tuple[Evidence, ...]:
        """What passed, the strongest first: one entry for each monitor and column."""
        found: dict[tuple[int, int], Evidence] = {}
        order = np.argsort(-self.ledger.weights * self.ledger.sums)
        for bet in order:
            if self.passed[bet] and (key := self.bets[bet]) not in found:
                found[key] = self._told(int(bet), *key)
        return tuple(found.values())

    def _told(self, bet: int, at: int, column: int) -> Evidence:
        monitor = self.monitors[at]
        log_e = float(np.log(max(self.ledger.sums[bet] * self.ledger.weights[bet], 1e-300)))
        began = float(self.ledger.since[bet])
        last = LATEST_LABELS if monitor.name in LABEL_DRIVEN else max(BLOCK, self.memory.count_since(began))
        return Evidence(monitor.name, monitor.places[column], log_e, began, self._says(at, column, last))

    def _says(self, at: int, column: int, last: int) -> str:
        monitor, values = self.monitors[at], self.memory.values(at, column, last)
        said = self.failures.spared(monitor.name, partial(monitor.says, column, values))
        return said or f"{monitor.name}: {monitor.places[column]} is not as usual"

    def _incident(self, now: float) -> Incident:
        evidence = self._evidence()
        first = evidence[0]
        began = min(first.began, now)
        name = first.monitor if first.monitor != "latency" else f"latency:{first.place}"
        return Incident(
            id=f"{self.model}-{int(now * 1000):x}"[:80],
            model=self.model,
            monitor=name,
            began=began,
            opened=now,
            log_e=first.log_e,
            message=first.message,
            version=self.memory.version(began),
            requests=self.memory.since(began),
            control=self.memory.before(began),
            usual=self.reference.healthy,
            evidence=evidence,
        )

    def state(self) -> dict[str, Any]:
        """What is known so far, as JSON values."""
        return {
            "ledger": self.ledger.state(),
            "passed": self.passed.tolist(),
            "peaks": self.peaks.tolist(),
            "open": None if self.open is None else msgspec.to_builtins(self.open),
            "memory": self.memory.state(),
            "silent": self.silent,
            "opener": list(self.opener),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what was known; where the bets are others than they were, from what they say from now on."""
        if len(state["passed"]) == len(self.bets):
            self.ledger.restore(state["ledger"])
            self.passed, self.peaks = np.asarray(state["passed"], dtype=bool), np.asarray(state["peaks"])
        self.open = None if state["open"] is None else msgspec.convert(state["open"], Incident)
        self.memory.restore(state["memory"])
        self.silent, self.opener = state["silent"], tuple(state["opener"])
