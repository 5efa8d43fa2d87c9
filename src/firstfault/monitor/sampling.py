"""Which requests are kept, decided when all is known of them, and how many each of them stands for.

Kept are all errors and refusals, what was slow, unsure, novel or marked, and of the others a uniform sample by a hash
of their ids. Whether one of the first kind is kept depends on itself and on what came before it, so that it stands for
itself alone; one of the sample stands for 1/share. The sum of the weights of any kind of request is then unbiased for
their number (Horvitz and Thompson, 1952). A lottery among the healthy ones of each hour adds controls, of weight 0.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import deque
from typing import Any

from firstfault.monitor.record import Captured, Outcome
from firstfault.monitor.settings import Settings

REMEMBERED = 1_000
"""Latencies and confidences per model and arm of which the quantile is taken."""
AT_LEAST = 200
"""Before so many are known, nothing is slow or unsure by comparison."""
RENEWED_EVERY = 100
"""Requests after which the quantile is taken anew: sorting at each would cost more than the request."""
RARE = 0.01
"""Of the last latencies and confidences: the slowest and the least sure 1 % are all kept."""
MOST_KINDS = 64
"""Models and arms with quantiles of their own."""
MOST_FIELDS, MOST_VALUES = 1_000, 200
"""A field with more values than that is a free text, and a new one is nothing novel."""
LONGEST_VALUE = 64
"""Letters of a text that may be a category; a field with a longer one is free text."""
_LOTTERY = b"control"


def draw(request_id: str, salt: bytes = b"") -> float:
    """A number in [0, 1) that is the same for the same id, wherever and whenever it is drawn."""
    digest = hashlib.blake2b(request_id.encode("utf-8", "backslashreplace"), digest_size=7, salt=salt).digest()
    return int.from_bytes(digest) / float(1 << 56)


class Kept:
    """Why a request is kept, how many it stands for, and its place in the lottery of controls."""

    __slots__ = ("control", "reasons", "weight")

    def __init__(self, reasons: tuple[str, ...], weight: float, control: float | None) -> None:
        self.reasons, self.weight, self.control = reasons, weight, control


class Sampler:
    """The decisions of one writer."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._slow = _Extremes(highest=True)
        self._unsure = _Extremes(highest=False)
        self._seen = _Seen()
        self._lottery: list[float] = []

    def begin_hour(self) -> None:
        """Hold a new lottery."""
        self._lottery = []

    def decide(self, captured: Captured, outcome: Outcome, confidence: float | None, fields: Any) -> Kept | None:
        """Whether a request is kept; None when it is not.

        Args:
            captured: the request.
            outcome: how it ended.
            confidence: of its answer, where it is known.
            fields: its input as plain values, in which something may be novel.
        """
        reasons = self._reasons(captured, outcome, confidence, fields)
        control = None if reasons else self._drawn(captured.request_id)
        sampled = draw(captured.request_id) < self.settings.sample
        if reasons:
            return Kept((*reasons, "sample") if sampled else reasons, 1.0, None)
        if sampled:
            return Kept(("sample",), 1.0 / self.settings.sample, control)
        return None if control is None else Kept(("control",), 0.0, control)

    def _reasons(self, captured: Captured, outcome: Outcome, confidence: float | None, fields: Any) -> tuple[str, ...]:
        kind = (captured.model, captured.arm)
        reasons = []
        if outcome is not Outcome.OK:
            reasons.append(str(outcome))
        if self._slow.is_beyond(kind, captured.total, self.settings.slow):
            reasons.append("slow")
        if confidence is not None and self._unsure.is_beyond(kind, confidence, self.settings.unsure):
            reasons.append("unsure")
        if outcome is Outcome.OK and self._seen.is_new(fields):
            reasons.append("novel")
        if captured.marks:
            reasons.append("marked")
        return tuple(reasons)

    def _drawn(self, request_id: str) -> float | None:
        """A request's place in the lottery, while it is among the lowest of the hour."""
        place = draw(request_id, _LOTTERY)
        if len(self._lottery) < self.settings.control:
            heapq.heappush(self._lottery, -place)
            return place
        if not self._lottery or place >= -self._lottery[0]:
            return None
        heapq.heapreplace(self._lottery, -place)
        return place


class _Extremes:
    """Whether a value is beyond the quantile of those before it, for each model and arm."""

    def __init__(self, *, highest: bool) -> None:
        self.highest = highest
        self._last: dict[tuple[str, str], deque[float]] = {}
        self._limits: dict[tuple[str, str], tuple[float, int]] = {}

    def is_beyond(self, kind: tuple[str, str], value: float, fixed: float | None) -> bool:
        """Whether it is; the value itself counts from the next one on."""
        if fixed is not None:
            return value > fixed if self.highest else value < fixed
        if kind not in self._last and len(self._last) >= MOST_KINDS:
            return False
        last = self._last.setdefault(kind, deque(maxlen=REMEMBERED))
        limit = self._limit(kind, last)
        last.append(value)
        return limit is not None and (value > limit if self.highest else value < limit)

    def _limit(self, kind: tuple[str, str], last: deque[float]) -> float | None:
        if len(last) < AT_LEAST:
            return None
        limit, left = self._limits.get(kind, (0.0, 0))
        if left <= 0:
            limit, left = _quantile(last, 1 - RARE if self.highest else RARE), RENEWED_EVERY
        self._limits[kind] = (limit, left - 1)
        return limit


def _quantile(values: deque[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


class _Seen:
    """The fields, their types and their short texts that have come before."""

    def __init__(self) -> None:
        self._fields: dict[str, dict[type, set[str] | None]] = {}

    def is_new(self, fields: Any) -> bool:
        """Whether an input has a field, a type or a short text that no input before it had."""
        if not isinstance(fields, dict):
            return False
        new, known = False, self._fields
        for name, value in fields.items():  # all of them are noted
            kind = type(value)
            types = known.get(name)
            if types is None or kind not in types:
                new = self._add(name, kind) or new
                types = known.get(name, {})
            if kind is str and (texts := types.get(str)) is not None and value not in texts:
                new = self._add_text(types, texts, value) or new
        return new

    def _add(self, name: str, kind: type) -> bool:
        """Note a field or its type, while there is room; a whole number is a number as any other."""
        types = self._fields.get(name)
        if types is None:
            if len(self._fields) >= MOST_FIELDS:
                return False
            types = self._fields[name] = {}
        kinds = (int, float) if kind in (int, float) else (kind,)
        types.update(dict.fromkeys(kinds, set() if kind is str else None))
        return True

    def _add_text(self, types: dict[type, set[str] | None], texts: set[str], value: str) -> bool:
        if len(value) > LONGEST_VALUE or len(texts) >= MOST_VALUES:
            types[str] = None
            return False
        texts.add(value)
        return True
