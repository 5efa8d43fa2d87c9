"""The two arms of a rollout, gathered from a store's records in the order in which their requests were over.

That order is the same whichever arm had which request, where the arms are equal: so the tests may follow it. The order
of the beginnings would have to wait for the slowest answer.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import NamedTuple

import msgspec
import numpy as np

from firstfault.monitor.record import Arm, Outcome, Record
from firstfault.monitor.rollout.outcomes import Outcomes
from firstfault.monitor.rollout.plan import Mode

SETTLING_SECONDS = 2.0
"""How long a record may be on its way from the end of its request into the store."""
MOST_UNPAIRED = 100_000
"""Records whose other half has not come: some hundred megabytes."""
DISAGREED = "shadow_disagreed"
"""The mark of a shadow's answer that is another than the champion's."""
UNIT = "unit"
"""Under this name a record's values have what its arm was drawn by, where that is not the request itself."""
BAD = (Outcome.ERROR, Outcome.REFUSED)
"""A challenger that refuses what the champion answers is no success."""


class Row(NamedTuple):
    """What the tests need of a request."""

    id: str
    unit: str
    bad: float
    seconds: float
    score: float
    weight: float
    sampled: bool
    cuts: dict[str, str]


class Gathered:
    """Both arms, as far as they have come."""

    def __init__(self, mode: Mode, model: str = "") -> None:
        self.mode, self.model = mode, model
        self.challenger = Arm.SHADOW if mode is Mode.SHADOW else Arm.CANARY
        self.disagreed = 0
        self._waiting: list[tuple[float, str, Record]] = []
        self._unpaired: dict[str, Record] = {}
        self._rows: dict[Arm, list[Row]] = {Arm.CHAMPION: [], self.challenger: []}
        self._order: dict[Arm, list[int]] = {Arm.CHAMPION: [], self.challenger: []}
        self._next = 0

    def add(self, records: Iterable[Record], now: float = float("inf")) -> None:
        """Take what came since the last look; what was over less than a moment before `now` waits for the next one."""
        for record in records:
            if record.arm in self._rows and self.model in ("", record.model):
                heapq.heappush(self._waiting, (record.time + record.stages.total, record.raw, record))
        while self._waiting and self._waiting[0][0] <= now - SETTLING_SECONDS:
            self._take(heapq.heappop(self._waiting)[2])

    def _take(self, record: Record) -> None:
        if self.mode is not Mode.SHADOW:
            self._append(record)
            return
        if "sample" not in record.reasons:  # the other one of the pair may have been left out
            return
        self.disagreed += DISAGREED in record.marks
        key = pair_of(record)
        other = self._unpaired.get(key)
        if other is None:
            self._unpaired[key] = record
            if len(self._unpaired) > MOST_UNPAIRED:
                del self._unpaired[next(iter(self._unpaired))]
        elif other.arm is not record.arm:
            del self._unpaired[key]
            for each in (other, record):
                self._append(each)
            self._next += 1

    def _append(self, record: Record) -> None:
        self._rows[record.arm].append(self._row(record))
        self._order[record.arm].append(self._next)
        if self.mode is not Mode.SHADOW:
            self._next += 1

    def _row(self, record: Record) -> Row:
        sampled = "sample" in record.reasons
        timed = sampled and not (self.mode is Mode.SHADOW and record.way == "proxy")
        score = record.confidence if sampled and record.confidence is not None else np.nan
        return Row(
            pair_of(record) if self.mode is Mode.SHADOW else record.request_id,
            str(record.values.get(UNIT, record.request_id)),
            float(record.outcome in BAD),
            record.stages.total if timed else np.nan,  # a copy has another way and another load than its original
            score,
            record.weight,
            sampled,
            msgspec.to_builtins(record.cuts) if self.mode is Mode.SHADOW else {},
        )

    @property
    def counts(self) -> tuple[int, int]:
        """How many requests of champion and challenger can be compared."""
        return len(self._rows[Arm.CHAMPION]), len(self._rows[self.challenger])

    def arms(self) -> tuple[Outcomes, Outcomes]:
        """Champion and challenger; their times are their places in the order."""
        return self._outcomes(Arm.CHAMPION), self._outcomes(self.challenger)

    def _outcomes(self, arm: Arm) -> Outcomes:
        columns = list(zip(*self._rows[arm], strict=True)) or [()] * len(Row._fields)
        ids, units, bad, seconds, score, weight, sampled, cuts = columns
        numbers = [np.asarray(column, dtype=float) for column in (self._order[arm], bad, seconds, score, weight)]
        order, bad_, seconds_, score_, weight_ = numbers
        return Outcomes(
            tuple(ids),
            order,
            bad_,
            seconds_,
            score_,
            tuple(cuts),
            units=tuple(units),
            weight=weight_,
            sampled=np.asarray(sampled, dtype=bool),
        )


def pair_of(record: Record) -> str:
    """What both records of a pair have in common.

    A copy that our proxy has made belongs to the same span, which tells a client's second attempt from its first; a
    copy made by another has the id of its request.
    """
    return f"{record.request_id} {record.span_id}" if record.way == "proxy" else record.request_id
