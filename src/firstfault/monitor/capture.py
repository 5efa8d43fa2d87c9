"""The request that is answered now: its stages, the values at its cuts, and what the user's code says of it.

    with stage("preprocess"):
        x = cut("tensor", prepare(raw))

Outside of a monitored request, each of these does nothing.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
import traceback
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, TypeVar

from firstfault.errors import FirstfaultError
from firstfault.logs import context, trace_context
from firstfault.logs.trace_context import TraceContext, parse
from firstfault.monitor.record import ARMS, CUTS, STAGES, Arm, Captured
from firstfault.monitor.settings import Settings
from firstfault.monitor.snapshot import snapshot
from firstfault.texts import encodable

V = TypeVar("V")
LONGEST_TRACEBACK = 16_384
"""Letters, the last ones."""
LONGEST_ID = 200
"""Letters of an id, and of a mark."""
SERVING = "serving"
"""The stage of log lines within a request."""
MOST_MARKS = 16
"""Marks of one request."""
_ids = random.Random()
"""Seeded by the system, and by nobody's `random.seed(0)`."""


class Capture:
    """What is known so far of a request that is being answered."""

    __slots__ = (
        "began",
        "confidence",
        "error",
        "marks",
        "named",
        "request_id",
        "stages",
        "time",
        "tokens",
        "trace",
        "values",
    )

    def __init__(self, settings: Settings, parent: bytes | str | None = None, request_id: str = "") -> None:
        outer = parse(parent) if parent else None
        ids = f"{_ids.getrandbits(192):048x}"  # a system call per id would be most of a request's cost
        self.trace = (
            TraceContext(ids[:32], ids[32:]) if outer is None else TraceContext(outer.trace_id, ids[32:], outer.sampled)
        )
        self.request_id = request_id[:LONGEST_ID] or self.trace.span_id
        self.time = time.time()
        self.began = time.perf_counter()
        self.stages: dict[str, float] = {}
        self.values: dict[str, Any] = {}
        self.marks: list[str] = []
        self.error = ""
        self.confidence: float | None = None
        self.named: tuple[str, str, str] = (settings.model, settings.version, settings.arm)

    def __enter__(self) -> None:
        """Let a block run within the request; one block after the other may."""
        self.tokens = current.set(self), trace_context.current.set(self.trace), context.stage.set(SERVING)

    def __exit__(self, kind: object, error: object, where: object) -> None:
        request, trace, stage = self.tokens
        current.reset(request)
        trace_context.current.reset(trace)
        context.stage.reset(stage)

    def handed_over(self, way: str, status: int) -> Captured:
        """What goes to the writer, when the answer is out."""
        return Captured(
            way,
            self.request_id,
            self.trace.trace_id,
            self.trace.span_id,
            self.time,
            time.perf_counter() - self.began,
            status,
            *self.named,
            stages=self.stages,
            values=self.values,
            marks=self.marks,
            error=self.error if status >= 500 else "",
            confidence=self.confidence,
        )


current: ContextVar[Capture | None] = ContextVar("firstfault_request", default=None)
"""The request that this thread or task answers; None outside of one."""


@contextlib.contextmanager
def stage(name: str) -> Iterator[None]:
    """Measure how long a stage takes: queue, validate, preprocess, model or postprocess.

    Raises:
        FirstfaultError: when there is no such stage.
    """
    if name not in STAGES:
        raise FirstfaultError(f"a stage must be one of {', '.join(STAGES)}, but got {name!r}")
    capture = current.get()
    began = time.perf_counter()
    try:
        yield
    finally:
        if capture is not None:
            capture.stages[name] = capture.stages.get(name, 0.0) + time.perf_counter() - began


def cut(name: str, value: V) -> V:
    """Note the value at a cut (raw, tensor, logits or label), and give it back.

    Raises:
        FirstfaultError: when there is no such cut.
    """
    if name not in CUTS:
        raise FirstfaultError(f"a cut must be one of {', '.join(CUTS)}, but got {name!r}")
    capture = current.get()
    if capture is not None:
        capture.values[name] = snapshot(value)
    return value


def mark(name: str) -> None:
    """Say that something is special about this request: an assertion was hit, a shadow disagreed. It will be kept."""
    capture = current.get()
    if capture is not None and len(capture.marks) < MOST_MARKS:
        capture.marks.append(str(name)[:LONGEST_ID])


def describe(
    *, model: str | None = None, version: str | None = None, arm: str | None = None, confidence: float | None = None
) -> None:
    """Say which model, version and arm answers this request, and how sure it is.

    Raises:
        FirstfaultError: when there is no such arm.
    """
    if arm is not None and arm not in ARMS:
        raise FirstfaultError(f"an arm must be one of {', '.join(Arm)}, but got {arm!r}")
    capture = current.get()
    if capture is None:
        return
    was = capture.named
    capture.named = (
        was[0] if model is None else str(model),
        was[1] if version is None else str(version),
        was[2] if arm is None else arm,
    )
    if confidence is not None:
        capture.confidence = float(confidence)


def request_id() -> str | None:
    """The id of the request that is answered now, by which its label can be told later; None outside of one."""
    capture = current.get()
    return None if capture is None else capture.request_id


def traceback_of(error: BaseException) -> str:
    """An exception's traceback as text; its end where it is long."""
    try:
        text = encodable("".join(traceback.format_exception(error)))
    except Exception:  # a message's own method may raise
        text = type(error).__name__
    return text if len(text) <= LONGEST_TRACEBACK else text[-LONGEST_TRACEBACK:].partition("\n")[2]


def forget_in_child() -> None:
    """Let a fork begin without the request in which it was made, and with ids of its own."""
    current.set(None)
    _ids.seed()


os.register_at_fork(after_in_child=forget_in_child)
