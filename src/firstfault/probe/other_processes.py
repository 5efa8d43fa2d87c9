"""How much of the machine's processors others used while a training ran: its loader's workers may have waited."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

STAT = Path("/proc/stat")
OWN = Path("/proc/thread-self/children")
"""Where Linux names what a thread has started; else every process of the machine is asked who started it."""
IDLE = (3, 4)  # of the columns: idle, and waiting for a disk
COUNTED = 8  # columns; what guests use is in the others


class OtherProcesses:
    """Measures from its construction on. Where the system doesn't tell, nobody else used anything."""

    def __init__(self) -> None:
        self._began, self._own = _machine(), _family()

    def share(self) -> float:
        """The share of all processors, 0 to 1, that went to processes that are neither this one nor below it."""
        if self._began is None or (now := _machine()) is None or now[1] <= self._began[1]:
            return 0.0
        busy, whole = now[0] - self._began[0], now[1] - self._began[1]
        return min(1.0, max(0.0, (busy - (_family() - self._own)) / whole))


def _machine() -> tuple[float, float] | None:
    """The seconds in which the processors worked, and all of theirs."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        columns = [int(word) for word in STAT.read_text().split("\n", 1)[0].split()[1 : COUNTED + 1]]
        ticks = os.sysconf("SC_CLK_TCK")
        return (sum(columns) - sum(columns[at] for at in IDLE)) / ticks, sum(columns) / ticks
    return None


def _family() -> float:
    """The seconds of this process and of those below it, ended or not."""
    times = os.times()
    own = times.user + times.system + times.children_user + times.children_system
    return own if _has_no_children() else own + _children()


def _has_no_children() -> bool:
    """Whether this process is known to have none that runs: to look for those below them takes milliseconds."""
    try:
        return OWN.exists() and not any(file.read_text() for file in Path("/proc/self/task").glob("*/children"))
    except OSError:  # a thread ended while it was asked
        return False


def _children() -> float:
    import psutil

    seconds = 0.0
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                used = child.cpu_times()
                seconds += used.user + used.system
    return seconds
