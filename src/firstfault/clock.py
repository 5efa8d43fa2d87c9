"""Time as work: the CPU seconds of a thread and of its children, and deadlines that a wall clock guards.

A busy machine gives a process less time, and no less work: what a budget of CPU seconds buys is the same beside four
other processes. The wall clock only bounds the wait for a training that sleeps.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from dataclasses import dataclass, field

GUARD = 10.0
"""How many times its CPU seconds a deadline may take by the wall clock."""


def cpu_seconds() -> float:
    """The CPU time of the calling thread, and of the child processes that this process has waited for.

    The main thread leads a training: on a quiet machine it works as long as the wall clock says, with one thread of
    torch or with many, since with many it does its share of each operation. Those beside it are not counted: they would
    make the same training cost twice as much on two cores. Workers of a loader are, once they have ended.
    """
    times = os.times()
    return time.thread_time() + times.children_user + times.children_system


class _Schedule(threading.local):
    """The open file in which Linux counts how long a thread waited for a processor."""

    def __init__(self) -> None:
        self.thread, self.file = 0, -1

    def opened(self) -> int:
        thread = threading.get_native_id()
        if thread != self.thread:  # the first call, or that of a process that was forked
            self.thread, self.file = thread, -1
            with contextlib.suppress(OSError):
                self.file = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        return self.file

    def __del__(self) -> None:
        if self.file >= 0:
            os.close(self.file)


_SCHEDULE = _Schedule()


def unhindered_seconds() -> float:
    """The wall clock without the time in which this thread could have run and got no processor.

    What a loop waits for is left, and what other processes take from it is not. Where the system does not tell, as on
    macOS, it is the wall clock.
    """
    return time.perf_counter() - _delay()


def _delay() -> float:
    if (file := _SCHEDULE.opened()) < 0:
        return 0.0
    try:
        return int(os.pread(file, 80, 0).split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


@dataclass(frozen=True)
class Deadline:
    """An end after some CPU seconds of this thread, or after `GUARD` times as many in which it worked or waited.

    The time in which it could have run and got no processor is in neither.
    """

    seconds: float
    began: float = field(default_factory=cpu_seconds)
    began_unhindered: float = field(default_factory=unhindered_seconds)

    @property
    def used(self) -> float:
        """The seconds that were used since it began: of work, or a share of the wait."""
        return max(self._worked, (unhindered_seconds() - self.began_unhindered) / GUARD)

    @property
    def passed(self) -> bool:
        """Whether it is over."""
        return self.used >= self.seconds

    @property
    def overslept(self) -> bool:
        """Whether it is over because what ran waited for something else."""
        return self.passed and self._worked < self.seconds

    @property
    def _worked(self) -> float:
        return cpu_seconds() - self.began
