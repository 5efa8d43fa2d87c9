"""What lets processes end with the one that started them, however that ends: a mark in their environment, and a warden.

The owner holds one end of a pipe, the warden the other. When the owner ends, by a signal too that it can't catch, the
warden reads the pipe's end, and ends every process that carries the owner's mark: children of children too, in whatever
session or process group.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

MARK = "FIRSTFAULT_OWNER"
PARENT_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of prctl(2)."""
GRACE_SECONDS = 10.0


def mark_of(pid: int, created: float) -> str:
    """What the environment of everything that this process has started says."""
    return f"{pid}-{created:.2f}"


def family(mark: str) -> list[Any]:
    """The living processes that carry a mark, but for this one."""
    import psutil

    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            marked = process.pid != os.getpid() and process.environ().get(MARK) == mark
            if marked and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def end_family(mark: str, grace: float = GRACE_SECONDS) -> None:
    """Ask the processes that carry a mark to end; those that have not ended after `grace` seconds are killed."""
    _signal(mark, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while family(mark) and time.monotonic() < deadline:
        time.sleep(0.2)
    for _ in range(50):  # one that is just being started escapes the first time
        if not _signal(mark, signal.SIGKILL):
            return
        time.sleep(0.1)


def _signal(mark: str, number: signal.Signals) -> int:
    import psutil

    members = family(mark)
    for process in members:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)
    return len(members)


def start_warden(mark: str) -> subprocess.Popen[bytes]:
    """Start the process that ends the family when this one has ended; its standard input is the pipe to keep open."""
    return subprocess.Popen(
        [sys.executable, "-m", "firstfault.runs.ownership", mark],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={key: value for key, value in os.environ.items() if key != MARK},
    )


def ends_with_us(number: signal.Signals = signal.SIGKILL) -> Callable[[], object] | None:
    """What lets a child be sent a signal when this process ends, however that happens; Linux alone knows how."""
    if sys.platform != "linux":
        return None
    import ctypes

    return functools.partial(ctypes.CDLL(None).prctl, PARENT_DEATH_SIGNAL, number)


if __name__ == "__main__":
    sys.stdin.buffer.read()
    end_family(sys.argv[1])
