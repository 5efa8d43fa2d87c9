"""What is remembered of the last requests: their references, and what each monitor saw of them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from firstfault.metrics import Array
from firstfault.monitor.record import Outcome, Record

REMEMBERED = 3_000
"""Requests; an incident is found within hundreds."""
MOST_REQUESTS, MOST_CONTROL = 400, 200
"""Enough for a paired test of a tenth of a deviation, and few enough to be replayed."""


JUST_BEFORE = 100
"""Requests that may hold what was noticed a little late; or as many as it took from when it showed."""


class Seen(msgspec.Struct, array_like=True):
    """What is remembered of a request."""

    raw: str
    time: float
    healthy: bool
    version: str
    shows: float = 0.0
    """The logarithm of how much more likely it is under the strongest bet."""


class Memory:
    """The last requests of one model."""

    def __init__(self) -> None:
        self.requests: deque[Seen] = deque(maxlen=REMEMBERED)
        self._values: dict[int, deque[Array]] = {}
        """What each monitor saw `(n, C)`, batch by batch, of `REMEMBERED` requests or a few more."""
        self._ahead: dict[int, int] = {}
        """How many values of a monitor are of requests that come after the present one."""

    def know(self, records: Sequence[Record]) -> None:
        """Take the requests of the reference: they are controls where few came after them."""
        for record in records[-MOST_CONTROL:]:
            self.requests.append(Seen(record.raw, record.time, record.outcome is Outcome.OK, record.version))

    def add_values(self, looks: Sequence[Array | None]) -> None:
        """Take what each monitor sees of the requests that come now."""
        self._ahead = {}
        for at, seen in enumerate(looks):
            if seen is not None:
                kept = self._values.setdefault(at, deque())
                kept.append(seen)
                while sum(map(len, kept)) - len(kept[0]) >= REMEMBERED:
                    kept.popleft()
                self._ahead[at] = len(seen)

    def go_on(self, records: Sequence[Record], shows: Array, *, late: bool) -> None:
        """Come to the next requests; those that are `late` came before."""
        self._ahead = {at: ahead - len(records) for at, ahead in self._ahead.items()}
        if late:
            return
        for record, value in zip(records, shows.tolist(), strict=True):
            self.requests.append(Seen(record.raw, record.time, record.outcome is Outcome.OK, record.version, value))

    def values(self, monitor: int, column: int, n: int) -> Array:
        """The last values, of `n` requests at most, that a monitor saw in a column."""
        kept = [seen[:, column] for seen in self._values.get(monitor, ())]
        found = np.concatenate([np.zeros(0), *kept])[-REMEMBERED:]
        until = len(found) - self._ahead.get(monitor, 0)
        found = found[max(0, until - n) : until]
        return found[~np.isnan(found)]

    def count_since(self, time: float) -> int:
        """How many requests came since."""
        return sum(seen.time >= time for seen in self.requests)

    def since(self, began: float) -> tuple[str, ...]:
        """The requests since then; where there are too many, those that show it most."""
        found = [seen for seen in self.requests if seen.time >= began]
        if len(found) > MOST_REQUESTS:
            found = sorted(found, key=lambda seen: -seen.shows)[:MOST_REQUESTS]
        return tuple(seen.raw for seen in found)

    def before(self, began: float) -> tuple[str, ...]:
        """The last healthy requests before then, but for those just before: it may have begun before it showed."""
        found = [seen.raw for seen in self.requests if seen.time < began and seen.healthy]
        until = len(found) - max(JUST_BEFORE, self.count_since(began))
        return tuple(found[:until][-MOST_CONTROL:] if until >= MOST_CONTROL else found[:MOST_CONTROL])

    def version(self, began: float) -> str:
        """The version of most requests since then."""
        found = Counter(seen.version for seen in self.requests if seen.time >= began)
        return found.most_common(1)[0][0] if found else ""

    def state(self) -> Any:
        """The requests as JSON values; what the monitors saw of them is not kept."""
        return msgspec.to_builtins(list(self.requests))

    def restore(self, state: Any) -> None:
        """Go on from what was known."""
        self.requests.clear()
        self.requests.extend(msgspec.convert(state, list[Seen]))
