"""Requests that come from no serving process of ours: recorded in this process, and as fast as they can be written."""

from __future__ import annotations

import os

import msgspec

from firstfault.monitor.record import Captured
from firstfault.monitor.ring import Ring
from firstfault.monitor.settings import Settings
from firstfault.monitor.writer import Writer

WRITTEN_EVERY = 500
"""Requests."""
_encode = msgspec.msgpack.Encoder().encode


class Intake:
    """A queue and its writer in one process: nothing is dropped, since whoever brings requests waits."""

    def __init__(self, settings: Settings) -> None:
        self._ring = Ring.of(settings.queue)
        self._writer = Writer(settings, self._ring, os.getppid())
        self._count = 0

    def add(self, captured: Captured) -> None:
        """Record one request.

        Raises:
            ValueError: when it is larger than the queue.
        """
        payload = _encode(captured)
        if len(payload) + 16 > self._ring.capacity:
            raise ValueError("the request is larger than the queue")
        if self._ring.room < len(payload) + 16 or self._count % WRITTEN_EVERY == WRITTEN_EVERY - 1:
            self.write()
        self._ring.put(payload)
        self._count += 1

    def write(self) -> None:
        """Write what was added."""
        while self._writer.take():
            pass
        self._writer.write()

    def end(self) -> int:
        """Write the rest; how many requests there were."""
        self._ring.begin_closing()
        self._writer.run(patient=True)
        self._ring.close()
        return self._count
