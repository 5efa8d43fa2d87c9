"""A small process that outlives the run it judges: it forwards signals, limits the end, and says how the run ended.

The command line forks before anything heavy is imported. The child does the work, and tells the guard by a socket
what it does and that it came to its proper end; the guard waits. So a run ends in time though its code ignores
signals, and an `os._exit` or a segmentation fault in the user's code is no silent success.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from firstfault.runs.guard import ENDING, work_for_guard
from firstfault.runs.ownership import below, end_family

COMMANDS = frozenset({"debug", "incident", "run", "sweep"})
PASSED_ON = (signal.SIGUSR1, signal.SIGUSR2)
FROM_KERNEL = 128
"""si_code of a signal that the terminal sent to its whole foreground group (sigaction(2), SI_KERNEL)."""
CHILD_SUBREAPER = 36
"""Option of prctl(2): orphans below become children of this process."""
LOOK_SECONDS = 0.1
"""How often the child is looked at between signals."""
GRACE_SECONDS = {"run": 3.2}
"""By command, where it is longer: a script that is run ends itself first, and its report is written after it."""
USUAL_GRACE_SECONDS = 2.5
"""How long the child may take to end after a signal, so that everything has ended within 5 s."""
LEAVING_SECONDS = 5.0
"""How long the interpreter may take to leave once all is written: other libraries' exits may wait on the network."""
HEAVY = ("torch", "mlflow", "prefect", "pandas", "numpy")


Settings = list[Any]
"""What termios says of a terminal."""


@dataclass
class Told:
    """What the child said of itself, and how it ended."""

    command: str
    values: dict[str, Any] = field(default_factory=dict)
    signum: int | None = None
    status: int = 0
    killed: bool = False

    @property
    def code(self) -> int | None:
        """The exit code of a run that came to its end; None where it never said so."""
        code = self.values.get("ended")
        return None if code is None else int(code)


def guardable(arguments: Sequence[str]) -> bool:
    """Whether a guard can watch this command line: a fork is safe before threads and heavy libraries are there."""
    fresh = threading.active_count() == 1 and not any(name in sys.modules for name in HEAVY)
    return sys.platform == "linux" and fresh and command_of(arguments) in COMMANDS


def command_of(arguments: Sequence[str]) -> str:
    """The command that is called, or nothing."""
    return next((word for word in arguments if not word.startswith("-")), "")


def guarded(work: Callable[[], int], command: str, conclude: Callable[[Told], int]) -> int:
    """Do `work` in a child, and wait for its end; the exit code. `conclude` tells of an end that was none.

    Returns in both processes: in the child with the code of `work`.
    """
    ours, theirs = socket.socketpair()
    deaf = signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # begun in the background of a script
    heeded = {signum for signum in (*ENDING, *PASSED_ON) if signal.getsignal(signum) is not signal.SIG_IGN} | {
        signal.SIGINT
    }
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*heeded, signal.SIGCHLD})
    guard = os.getpid()
    terminal = _terminal()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    child = os.fork()
    if child == 0:
        ours.close()
        return work_for_guard(work, theirs, guard, before)
    theirs.close()
    ours.setblocking(False)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(CHILD_SUBREAPER, 1)
    told = _Guard(child, ours, Told(command), heeded, deaf=deaf).wait()
    if told.killed or told.code is None:
        _restore(terminal)
    if told.code is not None and told.signum is None:
        return told.code
    return conclude(told)


class _Guard:
    """The waiting: for signals, for the child's words, and for its end."""

    def __init__(self, child: int, line: socket.socket, told: Told, heeded: set[signal.Signals], *, deaf: bool) -> None:
        self.child, self.line, self.told, self.heeded, self.deaf = child, line, told, heeded, deaf
        self.rest = b""
        self.deadline: float | None = None
        self.over = False

    def wait(self) -> Told:
        """Until the child has ended, and what it left behind has too."""
        import psutil  # noqa: F401 - now, since later there is no time

        while not self.over:
            info = signal.sigtimedwait({*self.heeded, signal.SIGCHLD}, LOOK_SECONDS)
            self._listen()
            if info is not None and info.si_signo != signal.SIGCHLD:
                self._heed(signal.Signals(info.si_signo), info.si_code == FROM_KERNEL)
            self._reap()
            if self.deadline is not None and time.monotonic() > self.deadline and not self.over:
                self._kill()
        self._listen()
        if self.told.signum is not None or self.told.code is None or self.told.command != "run":
            end_family(
                partial(below, os.getpid()), grace=0.0, patience=1.0
            )  # a script's own servers may outlive a script that came to its end
        return self.told

    def _heed(self, signum: signal.Signals, everywhere: bool) -> None:
        unheard = self.deaf and signum == signal.SIGINT  # the child ignores it, as a background process does
        if unheard and everywhere:
            return
        if not everywhere:  # a terminal's Ctrl-C has reached the child too
            self._send(signal.SIGTERM if unheard else signum)
        if signum in ENDING:
            with contextlib.suppress(OSError):
                self.line.send(bytes([signum]))
            self._end(int(signum))

    def _end(self, signum: int) -> None:
        if self.told.signum is None and self.told.code is None:
            self.told.signum = signum
            self._limit(GRACE_SECONDS.get(self.told.command, USUAL_GRACE_SECONDS))

    def _limit(self, seconds: float) -> None:
        at = time.monotonic() + seconds
        self.deadline = at if self.deadline is None else min(self.deadline, at)

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while words := self.line.recv(65536):
                self.rest += words
        *lines, self.rest = self.rest.split(b"\n")
        for line in lines:
            self._hear(json.loads(line))

    def _hear(self, values: dict[str, Any]) -> None:
        if values.pop("stays", False):  # a debugger took the Ctrl-C
            self.told.signum = self.deadline = None
        if "signum" in values:
            self._end(values.pop("signum"))
        if "ended" in values and self.told.command != "run":  # a script's threads may have work to finish
            self._limit(LEAVING_SECONDS)
        self.told.values.update(values)

    def _reap(self) -> None:
        """Collect the child, and orphans that became ours."""
        with contextlib.suppress(ChildProcessError):
            while not self.over:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid == self.child:
                    self.told.status, self.over = os.waitstatus_to_exitcode(status), True

    def _kill(self) -> None:
        self.told.killed, self.deadline = True, None
        end_family(partial(below, self.child, itself=True), grace=0.0, patience=1.0)

    def _send(self, signum: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.child, signum)


def _terminal() -> Settings | None:
    """The terminal's settings, if standard input is one."""
    with contextlib.suppress(Exception):
        import termios

        return termios.tcgetattr(0)
    return None


def _restore(settings: Settings | None) -> None:
    """What a process that was killed may have left undone: echo and line mode, and a hidden cursor."""
    if settings is not None:
        with contextlib.suppress(Exception):
            import termios

            termios.tcsetattr(0, termios.TCSANOW, settings)
    if sys.stdout.isatty():
        sys.stdout.write("\x1b[?25h")
        sys.stdout.flush()
