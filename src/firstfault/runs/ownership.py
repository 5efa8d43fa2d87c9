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
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil


MARK = "FIRSTFAULT_OWNER"
PARENT_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of prctl(2)."""
GRACE_SECONDS, PATIENCE_SECONDS = 10.0, 5.0
"""How long a family has to end once it was asked to, and how long it takes to be killed."""


def mark_of(pid: int, created: float) -> str:
    """What the environment of everything that this process has started says."""
    return f"{pid}-{created:.2f}"


def marked(mark: str) -> list[psutil.Process]:
    """The processes that carry a mark, but for this one."""
    import psutil

    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(MARK) == mark:
                found.append(process)
    return found


def below(pid: int, *, itself: bool = False) -> list[psutil.Process]:
    """The processes below one, and with `itself` that one too, last."""
    import psutil

    with contextlib.suppress(psutil.Error):
        head = psutil.Process(pid)
        return [*head.children(recursive=True), *([head] if itself else [])]
    return []


def end_family(
    members: Callable[[], list[psutil.Process]], grace: float = GRACE_SECONDS, patience: float = PATIENCE_SECONDS
) -> None:
    """Ask the processes that `members` finds to end; kill those that are left after `grace` seconds, and wait for that.

    They are looked for again and again: one that is just being started escapes the first time.
    """
    known: dict[int, psutil.Process] = {}

    def left() -> list[psutil.Process]:
        known.update({process.pid: process for process in members()})
        return [process for process in known.values() if _lives(process)]

    if grace:
        _signal(left(), signal.SIGTERM)
    deadline = time.monotonic() + grace
    while left() and time.monotonic() < deadline:
        time.sleep(0.2)
    deadline = time.monotonic() + patience
    while (stubborn := left()) and time.monotonic() < deadline:
        _signal(stubborn, signal.SIGKILL)
        time.sleep(0.1)


def _lives(process: psutil.Process) -> bool:
    import psutil

    with contextlib.suppress(psutil.Error):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    import psutil

    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)


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
    end_family(functools.partial(marked, sys.argv[1]))
