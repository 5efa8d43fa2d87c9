"""The ids that every line carries: of trace and span, run, incident and stage, as context variables."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar, Token
from typing import TypeVar

from firstfault.logs import trace_context
from firstfault.logs.trace_context import TraceContext

T = TypeVar("T")

run: ContextVar[str | None] = ContextVar("firstfault_run", default=None)
"""The run of firstfault, or of the user's own training, in which this thread or task works."""
incident: ContextVar[str | None] = ContextVar("firstfault_incident", default=None)
stage: ContextVar[str | None] = ContextVar("firstfault_stage", default=None)
"""Where on the way from data to serving: data, preprocessing, model, training, deployment, safety, serving."""

_LABELS = {"run_id": run, "incident_id": incident, "stage": stage}
IDS = ("trace.id", "span.id", *_LABELS)
"""The first two are fields of the Elastic Common Schema, the others are labels in it."""


def ids() -> dict[str, str]:
    """The ids of here and now, by `IDS`, without those that are not set."""
    span = trace_context.current.get()
    found = {} if span is None else {"trace.id": span.trace_id, "span.id": span.span_id}
    return found | {name: value for name, variable in _LABELS.items() if (value := variable.get())}


@contextlib.contextmanager
def bound(
    *, run: str | None = None, incident: str | None = None, stage: str | None = None, trace: TraceContext | None = None
) -> Iterator[None]:
    """Let every line inside the block carry these ids; what is left out stays as it is.

    A new thread starts without them: hand it `contextvars.copy_context().run`.
    """
    given = {"run_id": run, "incident_id": incident, "stage": stage}
    tokens = [(_LABELS[name], _LABELS[name].set(value)) for name, value in given.items() if value is not None]
    span = trace_context.current.set(trace) if trace is not None else None
    try:
        yield
    finally:
        for variable, token in tokens:
            _reset(variable, token)
        if span is not None:
            _reset(trace_context.current, span)


def _reset(variable: ContextVar[T | None], token: Token[T | None]) -> None:
    """A trainer's callbacks may end a block in another thread than began it: there nothing was set."""
    with contextlib.suppress(ValueError):
        variable.reset(token)
