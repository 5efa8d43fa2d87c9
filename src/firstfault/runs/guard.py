"""What a run says to its guard (`guard_process`), and what it does when the guard tells it that a signal came."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType

from firstfault.runs.ownership import below, end_family

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LAST_WORDS_SECONDS = 0.8
"""After so long, what must be kept is written beside the main thread, which has not come back from the user's code."""
DEBUGGERS = ("pdb.py", "bdb.py", "cmd.py", "code.py")


class Ended(KeyboardInterrupt):
    """A signal other than Ctrl-C asks the process to end."""


_line: socket.socket | None = None
_process = 0
_doing: object = None
_last_words: list[Callable[[], None]] = []


def is_guarded() -> bool:
    """Whether a guard waits for this process."""
    return _line is not None and os.getpid() == _process


def tell(**values: object) -> None:
    """Tell the guard, if there is one: `folder`, `target`, `doing` …"""
    global _doing
    _doing = values.get("doing", _doing)
    if _line is not None and os.getpid() == _process:  # not from a fork of the user's
        with contextlib.suppress(OSError):
            _line.sendall(json.dumps(values).encode() + b"\n")


@contextlib.contextmanager
def doing(what: str) -> Iterator[None]:
    """Tell the guard whose code runs inside, and afterwards what was done before."""
    before = _doing
    tell(doing=what)
    try:
        yield
    finally:
        tell(doing=before)


@contextlib.contextmanager
def last_words(write: Callable[[], None]) -> Iterator[None]:
    """Call `write` when a signal asks this process to end, and its main thread does not come back in time."""
    _last_words.append(write)
    try:
        yield
    finally:
        _last_words.remove(write)


def heed_signals() -> None:
    """Let SIGTERM and SIGHUP end this process as Ctrl-C does, by an exception; its forks are left alone."""
    for signum in ENDING:
        if signal.getsignal(signum) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(signum, _interrupt)
    os.register_at_fork(after_in_child=_leave_forks_alone)


def _leave_forks_alone() -> None:
    """A loader's worker or another fork of the user's heeds signals as it would without us."""
    for signum in ENDING:
        if signal.getsignal(signum) is _interrupt:
            signal.signal(signum, signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL)


def work_for_guard(work: Callable[[], int], line: socket.socket, guard: int, mask: set[int | signal.Signals]) -> int:
    """Do `work` as the child that the process `guard` waits for at the other end of `line`; its exit code."""
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


def was_struck() -> bool:
    """Whether a signal asked this process to end; a library may have made another exception of it."""
    return _interrupted


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
        except ConnectionResetError:  # it died before it had read what was told last
            break
        except OSError:
            return
        if not words:
            break
        _be_ready(words[0])
    end_family(partial(below, os.getpid(), itself=True), grace=0.0)


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
