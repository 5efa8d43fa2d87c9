"""Which lines are left out, by level and event: a share is kept, or so many a second; the others are counted."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from firstfault.values import is_number

REST = "*"
MOST_EVENTS = 1_000
"""Further events share one allowance, so that messages made by f-strings fill no memory."""
TOLD_SECONDS = 10.0
LEVELS = ("debug", "info", "warning", "error", "critical")


@dataclass(frozen=True)
class Rules:
    """Numbers by event, by level, or by `*` for all others, of which the first that is there counts."""

    numbers: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, given: float | Mapping[str, float] | None, what: str, most: float) -> Rules:
        """Rules from one number for all, from numbers by name, or from none.

        Raises:
            ValueError: for a number that is none, or not above 0 and at most `most`.
        """
        numbers = given if isinstance(given, Mapping) else {} if given is None else {REST: given}
        for name, number in numbers.items():
            if not is_number(number) or not 0 < number <= most:
                expected = "a number above 0" if most == float("inf") else f"above 0 and at most {most:g}"
                raise ValueError(f"{what} of {name!r} must be {expected}, but got {number!r}")
        return cls({name.lower() if name.lower() in LEVELS else name: number for name, number in numbers.items()})

    def find(self, event: str, level: str) -> float | None:
        """The number for a line, if there is one."""
        numbers = self.numbers
        return numbers.get(event, numbers.get(level, numbers.get(REST)))


@dataclass(frozen=True)
class LeftOut:
    """Lines that were not written: of which event and level, how many, since when, and by which rule."""

    event: str
    level: str
    reason: str
    lines: int
    rule: float
    seconds: float

    def __str__(self) -> str:
        why = f"more than {self.rule:g} a second" if self.reason == "rate" else f"a sample of {self.rule:g} is kept"
        return f"{self.lines} lines of {self.event!r} ({self.level}) were left out in {self.seconds:.0f} s: {why}"


@dataclass
class _Allowance:
    """A bucket of tokens that fills at a rate, and what it refused."""

    tokens: float
    at: float
    left_out: dict[str, int] = field(default_factory=dict)
    level: str = ""

    def take(self, rate: float, now: float) -> bool:
        most = max(1.0, rate)
        self.tokens = min(most, self.tokens + (now - self.at) * rate)
        self.at = now
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True


class Limits:
    """Admits lines.

    Args:
        rate: lines a second of one event.
        share: of the lines of one event, 0–1: by the trace's id where there is one, so that traces are kept whole.
        clock: seconds that only go on.
    """

    def __init__(self, rate: Rules, share: Rules, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self.share, self._clock = rate, share, clock
        self._lock = threading.RLock()
        self._events: dict[str, _Allowance] = {}
        self._told = clock()
        self._random = random.Random()  # an own one: the user's seeds stay untouched, and touch nothing here

    def admit(self, event: str, level: str, trace_id: str | None) -> bool:
        """Whether a line is written."""
        share, rate = self.share.find(event, level), self.rate.find(event, level)
        if share is None and rate is None:
            return True
        with self._lock:
            allowance = self._allowance(event, level, rate)
            if share is not None and not self._in_sample(share, trace_id):
                return self._refuse(allowance, "sample")
            if rate is not None and not allowance.take(rate, self._clock()):
                return self._refuse(allowance, "rate")
        return True

    def due(self) -> bool:
        """Whether it is time to tell of what was left out."""
        return self._clock() - self._told >= TOLD_SECONDS

    def left_out(self) -> list[LeftOut]:
        """What was left out since the last call."""
        with self._lock:
            now, since = self._clock(), self._told
            self._told = now
            found = []
            for event, allowance in self._events.items():
                for reason, lines in allowance.left_out.items():
                    rules = self.rate if reason == "rate" else self.share
                    rule = rules.find(event, allowance.level) or 0.0
                    found.append(LeftOut(event, allowance.level, reason, lines, rule, now - since))
                allowance.left_out = {}
            return found

    def forget(self) -> None:
        """Begin anew, as a forked process does: what its parent left out is the parent's to tell."""
        self._lock = threading.RLock()
        self._events, self._told = {}, self._clock()

    def _allowance(self, event: str, level: str, rate: float | None) -> _Allowance:
        name = event if event in self._events or len(self._events) < MOST_EVENTS else REST
        allowance = self._events.get(name)
        if allowance is None:
            allowance = self._events[name] = _Allowance(max(1.0, rate or 1.0), self._clock())
        allowance.level = level
        return allowance

    def _in_sample(self, share: float, trace_id: str | None) -> bool:
        place = int(trace_id[-8:], 16) / 2**32 if trace_id else self._random.random()
        return place < share

    @staticmethod
    def _refuse(allowance: _Allowance, reason: str) -> bool:
        allowance.left_out[reason] = allowance.left_out.get(reason, 0) + 1
        return False
