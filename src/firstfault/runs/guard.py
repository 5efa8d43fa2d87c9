"""A small process that outlives the run it judges: it forwards signals, sets the end a limit, and says how the run ended.

The command line forks before anything heavy is imported. The child does the work, and tells the guard by a socket what it does and
that it came to its proper end; the guard waits. So a run ends in time though its code ignores signals, and an `os._exit` or a
segmentation fault in the user's code is no silent success.
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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

COMMANDS = frozenset({"debug", "run", "sweep"})
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PASSED_ON = (signal.SIGUSR1, signal.SIGUSR2)
FROM_KERNEL = 128
"""si_code of a signal that the terminal sent to its whole foreground group (sigaction(2), SI_KERNEL)."""
CHILD_SUBREAPER, PARENT_DEATH_SIGNAL = 36, 1
"""Options of prctl(2): orphans below become children of this process; a signal for when the parent dies."""
LOOK_SECONDS = 0.1
GRACE_SECONDS = {"run": 3.2}
USUAL_GRACE_SECONDS = 2.5
"""How long the child may take to end after a signal, so that everything has ended within 5 s."""
LAST_WORDS_SECONDS = 0.8
"""After so long, what must be kept is written beside the main thread, which has not come back from the user's code."""
LEAVING_SECONDS = 5.0
"""How long the interpreter may take to leave, once everything is written: other libraries' exits may wait on the network."""
HEAVY = ("torch", "mlflow", "prefect", "pandas", "numpy")
DEBUGGERS = ("pdb.py", "bdb.py", "cmd.py", "code.py")


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


class Ended(KeyboardInterrupt):
    """A signal other than Ctrl-C asks the process to end."""


# --- the guard
# ---------------------------------------------------------------------------------------------------------------------


def guardable(arguments: Sequence[str]) -> bool:
    """Whether this is a fresh command line whose work a guard can watch: a fork is safe before threads and heavy libraries are there."""
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
        return _child(work, theirs, guard, before)
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
            end_family(os.getpid())  # a script's own servers may outlive a script that came to its end
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
        end_family(self.child, sparing=False)

    def _send(self, signum: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.child, signum)


def end_family(pid: int, *, sparing: bool = True) -> None:
    """Kill every process below `pid`, and with `sparing` off that one too; wait until they are gone."""
    import psutil

    with contextlib.suppress(psutil.Error):
        head = psutil.Process(pid)
        family = [*head.children(recursive=True), *([] if sparing else [head])]
        for process in family:
            with contextlib.suppress(psutil.Error):
                process.kill()
        if pid == os.getpid():
            psutil.wait_procs(family, timeout=1.0)


def _terminal() -> list[Any] | None:
    """The terminal's settings, if standard input is one."""
    with contextlib.suppress(Exception):
        import termios

        return termios.tcgetattr(0)
    return None


def _restore(settings: list[Any] | None) -> None:
    """What a process that was killed may have left undone: echo and line mode, and a hidden cursor."""
    if settings is not None:
        with contextlib.suppress(Exception):
            import termios

            termios.tcsetattr(0, termios.TCSANOW, settings)
    if sys.stdout.isatty():
        sys.stdout.write("\x1b[?25h")
        sys.stdout.flush()


# --- the child
# ---------------------------------------------------------------------------------------------------------------------

_line: socket.socket | None = None
_process = 0
_last_words: list[Callable[[], None]] = []


def is_guarded() -> bool:
    """Whether a guard waits for this process."""
    return _line is not None and os.getpid() == _process


def tell(**values: Any) -> None:
    """Tell the guard, if there is one: `folder`, `target`, `doing` …"""
    if _line is not None and os.getpid() == _process:  # not from a fork of the user's
        with contextlib.suppress(OSError):
            _line.sendall(json.dumps(values).encode() + b"\n")


@contextlib.contextmanager
def last_words(write: Callable[[], None]) -> Iterator[None]:
    """Call `write` when a signal asks this process to end, and its main thread does not come back in time."""
    _last_words.append(write)
    try:
        yield
    finally:
        _last_words.remove(write)


def heed_signals() -> None:
    """Let SIGTERM and SIGHUP end this process as Ctrl-C does, by an exception in the main thread; its forks are left alone."""
    for signum in ENDING:
        if signal.getsignal(signum) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(signum, _interrupt)
    os.register_at_fork(after_in_child=_leave_forks_alone)


def _leave_forks_alone() -> None:
    """A loader's worker or another fork of the user's heeds signals as it would without us."""
    for signum in ENDING:
        if signal.getsignal(signum) is _interrupt:
            signal.signal(signum, signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL)


def _child(work: Callable[[], int], line: socket.socket, guard: int, mask: set[int | signal.Signals]) -> int:
    global _line, _process
    _line, _process = line, os.getpid()
    heed_signals()
    threading.Thread(target=_hear_guard, args=(line, guard), daemon=True, name="guard").start()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    code = work()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    tell(ended=code)
    return code


_interrupted = False


def _interrupt(signum: int, frame: FrameType | None) -> None:
    global _interrupted
    if signum == signal.SIGINT and _debugged(frame):
        tell(stays=True)
        raise KeyboardInterrupt
    if _interrupted:  # a second one must not end the tidying up
        return
    _interrupted = True
    tell(signum=signum)
    raise KeyboardInterrupt if signum == signal.SIGINT else Ended(signal.Signals(signum).name)


def _debugged(frame: FrameType | None) -> bool:
    """Whether the main thread is in a debugger, or a debugger waits for Ctrl-C."""
    handler = signal.getsignal(signal.SIGINT)
    if getattr(handler, "__func__", None) is not None and type(getattr(handler, "__self__", None)).__module__ in (
        "pdb",
        "IPython.core.debugger",
    ):
        return True
    standard_library = Path(os.__file__).parent
    while frame is not None:
        module = Path(frame.f_code.co_filename)
        if module.name in DEBUGGERS and module.parent == standard_library:
            return True
        frame = frame.f_back
    return False


def _hear_guard(line: socket.socket, guard: int) -> None:
    """Wait for the guard to say that a signal came, or to die."""
    while True:
        try:
            words = line.recv(1)
        except OSError:
            return
        if not words:
            break
        _be_ready(words[0])
    end_family(os.getpid(), sparing=False)


def _be_ready(signum: int) -> None:
    """Write what must be kept, where the main thread doesn't come back."""
    main = threading.main_thread()
    if signum == signal.SIGINT and _debugged(sys._current_frames().get(main.ident or 0)):
        tell(stays=True)
        return
    writers = list(_last_words)
    time.sleep(LAST_WORDS_SECONDS)
    for write in writers:
        if write in _last_words:
            with contextlib.suppress(Exception):
                write()
