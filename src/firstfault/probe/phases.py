"""Where the time of a loop goes: loading, forward, backward, the optimizer, and the rest."""

from __future__ import annotations

import time

from firstfault.probe.record import Record


class Phases:
    """Puts wall and processor seconds since the last mark on a phase of the record.

    `stands_for` says for how many steps the one at hand is timed; at 0 no clock is read.
    """

    def __init__(self, record: Record) -> None:
        self._seconds, self._processor = record.phases, record.cpu
        self.stands_for = 1
        self.restart()

    def begin(self, stands_for: int) -> None:
        """A step begins, timed for so many; what was looked at since the end of the last one is no part of it."""
        self.stands_for = stands_for
        if stands_for:
            self.restart()

    def restart(self) -> None:
        """Forget the time since the last mark."""
        self._mark, self._cpu = time.perf_counter(), time.process_time()

    def end(self, phase: str) -> None:
        """Put the time since the last mark on a phase."""
        if not self.stands_for:
            return
        now, cpu = time.perf_counter(), time.process_time()
        self._seconds[phase] = self._seconds.get(phase, 0.0) + self.stands_for * (now - self._mark)
        self._processor[phase] = self._processor.get(phase, 0.0) + self.stands_for * (cpu - self._cpu)
        self._mark, self._cpu = now, cpu
