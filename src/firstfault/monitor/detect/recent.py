"""What is told of one model's last requests and opens nothing: labels that stay away, other shares of the answers.

A batch of labels may be late, and a promotion moves what is answered: neither is worth waking anybody.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from firstfault.monitor.detect.batch import Batch
from firstfault.monitor.detect.table import Schema
from firstfault.monitor.detect.unlabelled import parts_of, unlabelled
from firstfault.monitor.record import Record

LAST = 1_000
"""Requests whose answers are counted: a share of them errs by 0.03."""
LABELLED = 500
"""Labels in which a part that gets none any more shows after half as many."""
FEWEST = 300
MOVED = 0.15
"""A share that is off by so much is told: five standard errors of 300 answers."""
ARRIVALS = 3
"""Times at which labels came, before which nobody knows how often they do."""
OVERDUE, AT_LEAST = 3, 100
"""Labels stay away after so many times the longest stretch without any, and so many requests."""
MOST_CLASSES = 20
"""Answers of more kinds than that are no classes whose shares say anything."""


class Recent:
    """The last requests of a model, and how often labels come."""

    def __init__(self) -> None:
        self.last: deque[Record] = deque(maxlen=LAST)
        self.labelled: deque[Record] = deque(maxlen=LABELLED)
        self.without, self.longest, self.arrivals = 0, 0, 0
        """Requests since a label came, the most that there were between two, and how often any came."""

    def see(self, records: Sequence[Record]) -> None:
        """Take requests as they come, some with their labels."""
        self.last.extend(records)
        for record in records:
            self.without += 1
            if record.label is not None:
                self.come([record])

    def come(self, records: Sequence[Record]) -> None:
        """Labels have come for requests that were seen."""
        self.labelled.extend(records)
        if self.without:
            self.longest, self.arrivals = max(self.longest, self.without), self.arrivals + 1
        self.without = 0

    def told(self, usual: Mapping[str, float], parts: Mapping[str, float], schema: Schema) -> list[str]:
        """A sentence for each, beside the usual shares of the answers, and of all parts of the requests."""
        last, labelled = (_sampled(each, schema) for each in (self.last, self.labelled))
        return [*self._labels(), *unlabelled(parts, parts_of(last), labelled), *_moved(usual, last)]

    def _labels(self) -> list[str]:
        if self.arrivals < ARRIVALS or self.without <= max(OVERDUE * self.longest, AT_LEAST):
            return []
        return [
            f"labels stay away: none has come for the last {self.without} requests, where {self.longest} were the most"
        ]

    def state(self) -> dict[str, Any]:
        """How often labels come, as JSON values; the last requests, and the last with labels, are not kept."""
        return {"without": self.without, "longest": self.longest, "arrivals": self.arrivals}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what was known."""
        self.without, self.longest, self.arrivals = (int(state[name]) for name in self.state())


def _moved(before: Mapping[str, float], last: Batch) -> list[str]:
    """A sentence for the answer whose share has moved most, where that is far."""
    now = shares_of(last) if before else {}
    moved = {name: now.get(name, 0.0) - before.get(name, 0.0) for name in {*now, *before}} if now and before else {}
    name = max(sorted(moved), key=lambda name: abs(moved[name]), default="")
    if abs(moved.get(name, 0.0)) < MOVED:
        return []
    return [
        f"{name!r} is the answer to {now.get(name, 0.0):.0%} of the last requests, and was to "
        f"{before.get(name, 0.0):.0%}: others may ask, which is no incident by itself"
    ]


def _sampled(records: Iterable[Record], schema: Schema) -> Batch:
    batch = Batch(records, schema)
    return batch.part(batch.uniform)


def shares_of(batch: Batch) -> dict[str, float]:
    """The share of each class of answer among the champion's uniform sample; empty where answers are no classes."""
    drawn = np.flatnonzero(batch.champions & batch.uniform)
    if any(isinstance(batch.answers[at].label, float) for at in drawn):
        return {}
    counts = Counter(name for at in drawn if (name := batch.classes[at]) is not None)
    if counts.total() < FEWEST or len(counts) > MOST_CLASSES:
        return {}
    return {name: n / counts.total() for name, n in counts.items()}
