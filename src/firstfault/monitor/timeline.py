"""A body as it passes: the beginning of what it holds, its size, and when each part of an answer came.

Every request has one of each, so that what they extend is called by its name: three times `super()` cost it 0.4 µs.
"""

from __future__ import annotations

import time

from firstfault.monitor.record import Stream


class Beginning:
    """The beginning of a body, and the size of the whole."""

    __slots__ = ("_chunks", "_limit", "size")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._chunks: list[bytes] = []
        self.size = 0

    def add(self, chunk: bytes) -> None:
        """Note a part that has passed; an empty one is none."""
        if not chunk:
            return
        if (left := self._limit - self.size) > 0:
            self._chunks.append(chunk if len(chunk) <= left else chunk[:left])  # of a large one, not all is held
        self.size += len(chunk)

    def kept(self) -> bytes:
        """The beginning of the body."""
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)


class Timeline(Beginning):
    """The same of an answer, with the times of its parts."""

    __slots__ = ("_began", "_first", "_gap_max", "_last", "_parts")

    def __init__(self, began: float, limit: int) -> None:
        Beginning.__init__(self, limit)
        self._began = began
        self._first = self._last = self._gap_max = 0.0
        self._parts = 0

    def add(self, chunk: bytes) -> None:
        """Note a part that has passed, and when; an empty one is none."""
        if not chunk:
            return
        now = time.perf_counter()
        if self._parts == 0:
            self._first = now
        elif now - self._last > self._gap_max:
            self._gap_max = now - self._last
        self._last = now
        self._parts += 1
        Beginning.add(self, chunk)

    def stream(self) -> Stream | None:
        """The times of an answer that came in several parts."""
        if self._parts < 2:
            return None
        gaps = self._parts - 1
        return Stream(self._first - self._began, self._parts, (self._last - self._first) / gaps, self._gap_max)
