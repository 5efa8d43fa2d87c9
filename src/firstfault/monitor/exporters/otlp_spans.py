"""Kept requests as spans of OpenTelemetry, with their stages within them, under the ids with which they were recorded.

A record knows how long its stages took, not when they began: they are laid one behind the other. Ids of stages come
from the record's, so that a request that is sent twice is the same spans twice.
"""

from __future__ import annotations

import functools
import hashlib
import math
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from firstfault.monitor.record import CUTS, STAGES, Outcome, Record

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext
    from opentelemetry.util.types import AttributeValue

NANO = 1_000_000_000
SCOPE = "firstfault.monitor"


def spans(records: Iterable[Record]) -> Iterator[ReadableSpan]:
    """A span for each request, and one for each of its stages."""
    for record in records:
        yield _request(record)
        yield from _stages(record)


def _request(record: Record) -> ReadableSpan:
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanKind, Status, StatusCode

    start = max(0, _nanoseconds(record.time))
    end = start + max(0, _nanoseconds(record.stages.total))
    failed = record.outcome is Outcome.ERROR
    events = [Event("exception", {"exception.stacktrace": record.error}, end)] if record.error else []
    return ReadableSpan(
        record.path or record.model,
        _context(record, record.span_id),
        resource=_resource(record.model, record.version),
        attributes=attributes(record),
        events=events,
        kind=SpanKind.SERVER,
        status=Status(StatusCode.ERROR if failed else StatusCode.UNSET),
        start_time=start,
        end_time=end,
        instrumentation_scope=InstrumentationScope(SCOPE),
    )


def _stages(record: Record) -> Iterator[ReadableSpan]:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    waited = record.stages.queue or 0.0  # before the request was seen
    at = max(0, _nanoseconds(record.time) - _nanoseconds(waited))
    for stage in STAGES:
        seconds = getattr(record.stages, stage)
        if seconds is not None:
            yield ReadableSpan(
                stage,
                _context(record, hashlib.sha256(f"{record.raw} {stage}".encode()).hexdigest()[:16]),
                parent=_context(record, record.span_id),
                resource=_resource(record.model, record.version),
                start_time=at,
                end_time=(at := at + max(0, _nanoseconds(seconds))),
                instrumentation_scope=InstrumentationScope(SCOPE),
            )


def attributes(record: Record) -> dict[str, AttributeValue]:
    """What a span tells of a request: neither its values nor its answer, masked as they are."""
    method, _, path = record.path.rpartition(" ")
    found: dict[str, AttributeValue | None] = {
        "http.request.method": method or None,
        "url.path": path.partition("?")[0] or None,
        "http.response.status_code": record.status,
        "http.request.body.size": record.request_bytes or None,
        "http.response.body.size": record.response_bytes or None,
        "error.type": str(record.status) if record.outcome is Outcome.ERROR else None,
        "firstfault.request_id": record.request_id,
        "firstfault.raw": record.raw,
        "firstfault.way": record.way,
        "firstfault.model": record.model,
        "firstfault.version": record.version or None,
        "firstfault.arm": str(record.arm),
        "firstfault.outcome": str(record.outcome),
        "firstfault.confidence": record.confidence,
        "firstfault.reasons": record.reasons or None,
        "firstfault.marks": record.marks or None,
        "firstfault.weight": record.weight,
        **{f"firstfault.cut.{cut}": getattr(record.cuts, cut) for cut in CUTS},
    }
    return {name: value for name, value in found.items() if value is not None}


@functools.lru_cache(maxsize=1_000)
def _resource(model: str, version: str) -> Resource:
    from opentelemetry.sdk.resources import Resource

    return Resource.create({"service.name": model, **({"service.version": version} if version else {})})


def _context(record: Record, span_id: str) -> SpanContext:
    from opentelemetry.trace import SpanContext, TraceFlags

    sampled = TraceFlags(TraceFlags.SAMPLED)
    return SpanContext(_number(record.trace_id, 32), _number(span_id, 16), is_remote=False, trace_flags=sampled)


def _number(id_: str, digits: int) -> int:
    """An id as a number; one that is none, as of logs that others write, is represented by its hash."""
    if not re.fullmatch(f"[0-9a-f]{{{digits}}}", id_) or not int(id_, 16):
        id_ = hashlib.sha256(id_.encode()).hexdigest()[:digits]
    return int(id_, 16)


def _nanoseconds(seconds: float) -> int:
    """Whole nanoseconds; none for what is no length of time, as logs of others may have it."""
    return round(seconds * NANO) if math.isfinite(seconds) else 0
