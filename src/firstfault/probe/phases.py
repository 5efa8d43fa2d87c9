"""Where the time of a loop goes: loading, forward, backward, the optimizer, and the rest."""

from __future__ import annotations

import time

from firstfault.probe.record import Record


class Phases:
    """Puts wall and processor seconds since the last mark on a phase of the record."""

    def __init__(self, record: Record) -> None:
        self._seconds, self._processor = record.phases, record.cpu
        self.restart()

    def restart(self) -> None:
        """Forget the time since the last mark."""
        self._mark, self._cpu = time.perf_counter(), time.process_time()

    def end(self, phase: str) -> None:
        """Put the time since the last mark on a phase."""
        now, cpu = time.perf_counter(), time.process_time()
        self._seconds[phase] = self._seconds.get(phase, 0.0) + now - self._mark
        self._processor[phase] = self._processor.get(phase, 0.0) + cpu - self._cpu
        self._mark, self._cpu = now, cpu
