"""A thread beside the training, for what may be slow or fail: events, checkpoints for MLflow."""

from __future__ import annotations

import contextvars
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from firstfault.errors import told
from firstfault.probe.sinks.base import SECONDS_TO_END

logger = logging.getLogger(__name__)
WAITING = 64
"""Events and checkpoints that may wait: bounds the memory, and what is lost beyond it is said."""


class Beside:
    """Calls functions one after another in one thread; what they raise, and what is dropped, is a warning."""

    def __init__(self) -> None:
        self._queue: queue.Queue[tuple[str, Callable[..., Any]] | None] = queue.Queue(WAITING)
        self._thread: threading.Thread | None = None
        self._process = os.getpid()
        self.lost: dict[str, str] = {}

    def later(self, what: str, function: Callable[..., Any], *args: Any) -> None:
        """Call a function soon; `what` it is about, in words."""
        if os.getpid() != self._process:  # a fork has no such thread
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True, name="firstfault actions")
            self._thread.start()
        context = contextvars.copy_context()
        try:
            self._queue.put_nowait((what, lambda: context.run(function, *args)))
        except queue.Full:
            self._lose(what, "too many were waiting")

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            what, call = item
            try:
                call()
            except BaseException as error:  # the thread outlives whatever a call ends with
                self._lose(what, told(error))

    def _lose(self, what: str, why: str) -> None:
        self.lost[what] = why
        logger.warning("%s was lost: %s", what, why)

    def close(self) -> dict[str, str]:
        """Wait for what was asked for, at most 30 seconds; what was lost, and why."""
        thread, until = self._thread, time.monotonic() + SECONDS_TO_END
        if thread is None or os.getpid() != self._process:
            return {}
        try:
            self._queue.put(None, timeout=SECONDS_TO_END)
        except queue.Full:
            return {**self.lost, "actions": "they hang, and were left"}
        thread.join(max(0.0, until - time.monotonic()))
        self._thread = None
        return {**self.lost, **({"actions": "they did not end in time"} if thread.is_alive() else {})}
