"""The serving process's end: what a request hands over, without ever waiting, and the writer's process behind it.

Each serving process has a queue and a writer of its own, made when its first request has been answered; a fork begins
anew. A writer that died is followed by another, which goes on where the queue was left. Where no writer can be had,
what is lost is counted, and serving goes on.
"""

from __future__ import annotations

import atexit
import logging
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable

import msgspec

from firstfault.monitor.record import Captured
from firstfault.monitor.ring import Ring
from firstfault.monitor.settings import Settings

logger = logging.getLogger(__name__)
SILENCE_SECONDS, HUNG_SECONDS = 1.0, 60.0
"""A writer that has not said for so long that it lives is looked at; for so long, and it is ended."""
LOOK_SECONDS, AGAIN_SECONDS = 0.5, 5.0
"""How long after a look at the writer the next one may be, and after a start the next start."""
CLOSING_SECONDS = 3.0
MOST_WAITING = 4_096
"""Payloads that may wait while another thread puts its own into the queue."""
_encode = msgspec.msgpack.Encoder().encode


class Recorder:
    """What takes the records of one serving process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._skipped, self._below = frozenset(settings.skip), tuple(f"{path}/" for path in settings.skip)
        self._forget()

    def __reduce__(self) -> tuple[Callable[[Settings], Recorder], tuple[Settings]]:
        """As what it is in another process: Ray and MLflow send classes, and with them what records their methods."""
        return recorder_of, (self.settings,)

    def _forget(self) -> None:
        """Begin anew, as in a fork: the queue and the writer are the parent's."""
        self._ring: Ring | None = None
        self._refused = False
        self._waiting: deque[bytes] = deque()
        self._lock = threading.Lock()
        self._starting = False
        self._looked = self._started = -AGAIN_SECONDS
        self._writer: subprocess.Popen[bytes] | None = None

    def skips(self, path: str) -> bool:
        """Whether requests of a path are not recorded."""
        return path in self._skipped or path.startswith(self._below)

    def start(self) -> None:
        """Make the queue and start the writer before there is anything to record."""
        with self._lock:
            ring = self._ring or self._open()
        if ring is not None:
            self._look_after_writer(ring)
        self._drain()

    def take(self, captured: Captured) -> None:
        """Hand one record over. It raises nothing, waits for nothing, and counts what it can't hand over."""
        try:
            payload = _encode(captured)
        except Exception as error:  # a value that nobody foresaw must not end the user's request
            logger.warning("a request could not be recorded: %s", error)
            self._lose(1)
            return
        if len(self._waiting) >= MOST_WAITING:
            self._lose(len(payload))
            return
        self._waiting.append(payload)
        self._drain()

    def _drain(self) -> None:
        """Put what waits into the queue, unless another thread does; that one looks again when it is done."""
        while self._waiting and self._lock.acquire(blocking=False):
            try:
                self._put()
            except Exception as error:  # as of a queue that is being closed
                logger.warning("a request could not be recorded: %s", error)
            finally:
                self._lock.release()

    def _put(self) -> None:
        ring = self._ring or self._open()
        while self._waiting:
            payload = self._waiting.popleft()
            if ring is not None:
                ring.put(payload)
        if ring is not None and ring.silence > SILENCE_SECONDS:
            self._look_after_writer(ring)

    def _lose(self, size: int) -> None:
        if self._ring is not None:
            self._ring.lose(size)

    def _open(self) -> Ring | None:
        if self._refused:
            return None
        try:
            self._ring = Ring.of(self.settings.queue)
        except (OSError, ValueError) as error:
            self._refused = True
            logger.warning("requests are not recorded, since there is no queue for them: %s", error)
        return self._ring

    def _look_after_writer(self, ring: Ring) -> None:
        """Have a writer started where none lives, by a thread that ends again."""
        now = time.monotonic()
        if self._starting or now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        lives = self._writer is not None and self._writer.poll() is None
        if (lives and ring.silence < HUNG_SECONDS) or now - self._started < AGAIN_SECONDS:
            return
        self._starting, self._started = True, now
        threading.Thread(target=self._start, args=(ring,), name="firstfault-monitor", daemon=True).start()

    def _start(self, ring: Ring) -> None:
        try:
            if self._writer is not None and self._writer.poll() is None:
                self._writer.kill()
                self._writer.wait()
            self._writer = start_writer(self.settings, ring)
        except OSError as error:
            logger.warning("requests wait in memory, since their writer could not be started: %s", error)
        finally:
            self._starting = False

    @property
    def counts(self) -> dict[str, int]:
        """How many records were handed over, and how many dropped."""
        return self._ring.counts if self._ring is not None else {"taken": 0, "dropped": 0}

    def close(self, timeout: float = CLOSING_SECONDS) -> bool:
        """Wait until all that was handed over is written, and the writer has ended; whether both came about in time."""
        ring = self._ring
        if ring is None:
            return True
        deadline = time.monotonic() + timeout
        while self._starting and time.monotonic() < deadline:
            time.sleep(0.01)
        if self._writer is None or self._writer.poll() is not None:
            if ring.empty:
                return True
            self._start(ring)
        ring.begin_closing()
        try:
            if self._writer is not None:
                self._writer.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return False
        done = ring.empty
        self._forget()
        ring.close()
        return done


def start_writer(settings: Settings, ring: Ring) -> subprocess.Popen[bytes]:
    """Start the process that empties a queue; it ends when this process has."""
    settings.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = os.open(settings.folder / "writer.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    queue = os.dup(ring.descriptor)  # gevent makes processes by a fork of Python's own, which forgets the queue
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "firstfault.monitor.writer", str(queue), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=(queue,),
            start_new_session=True,  # a Ctrl-C at the server's terminal is not for it: it has to empty the queue
            umask=0o077,
        )
    finally:
        os.close(log)
        os.close(queue)
    assert process.stdin is not None
    with process.stdin as words:  # not the command line, which others can read: a database's URL has its password
        words.write(msgspec.json.encode(settings))
    return process


_recorders: dict[Settings, Recorder] = {}


def recorder_of(settings: Settings) -> Recorder:
    """The recorder of these settings in this process: the same for every function and application that has them."""
    if settings not in _recorders:
        _recorders[settings] = Recorder(settings)
    return _recorders[settings]


def close_all(timeout: float = CLOSING_SECONDS) -> None:
    """Let every writer write what it was handed over."""
    deadline = time.monotonic() + timeout
    for recorder in list(_recorders.values()):
        recorder.close(max(0.0, deadline - time.monotonic()))


def _forget_all() -> None:
    for recorder in list(_recorders.values()):
        if recorder._ring is not None:
            os.close(recorder._ring.descriptor)
        recorder._forget()


atexit.register(close_all)
os.register_at_fork(after_in_child=_forget_all)
