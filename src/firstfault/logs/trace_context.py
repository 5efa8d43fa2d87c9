"""The trace that a request belongs to: W3C Trace Context's `traceparent`, read, written and passed on.

Source: W3C Trace Context, level 1 (https://www.w3.org/TR/trace-context-1/).
"""

from __future__ import annotations

import os
import re
from contextvars import ContextVar

import msgspec

HEADER = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
"""version-trace-span-flags; only a version that is not out yet may say more."""
SAMPLED = 0x01


class TraceContext(msgspec.Struct, frozen=True, gc=False):
    """One span of one trace, with ids as lowercase hexadecimal digits: 32 of the trace, 16 of the span."""

    trace_id: str
    span_id: str
    sampled: bool = True

    def header(self) -> str:
        """The value of the header `traceparent` that hands this span on."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"

    def child(self) -> TraceContext:
        """A new span of the same trace."""
        return TraceContext(self.trace_id, os.urandom(8).hex(), self.sampled)


current: ContextVar[TraceContext | None] = ContextVar("firstfault_trace", default=None)
"""The span in which this thread or task works; None outside of one."""


def begin(sampled: bool = True) -> TraceContext:
    """The first span of a new trace."""
    return TraceContext(os.urandom(16).hex(), os.urandom(8).hex(), sampled)


def parse(header: str | bytes | None) -> TraceContext | None:
    """Read a `traceparent` header; None where there is none, or where it breaks the standard's rules."""
    text = header.decode("latin-1") if isinstance(header, bytes) else header
    match = HEADER.fullmatch(text.strip(" \t")) if text else None
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if version == "ff" or (version == "00" and more) or not (trace_id.strip("0") and span_id.strip("0")):
        return None
    return TraceContext(trace_id, span_id, bool(int(flags, 16) & SAMPLED))
