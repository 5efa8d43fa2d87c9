"""What is known of one request: a single schema, whichever way it came in."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Any

import msgspec


class Arm(StrEnum):
    """Which side of a rollout answered."""

    CHAMPION = "champion"
    CANARY = "canary"
    SHADOW = "shadow"


ARMS = frozenset(Arm)


class Outcome(StrEnum):
    """How a request ended."""

    OK = "ok"
    REFUSED = "refused"
    ERROR = "error"
    DISCONNECTED = "disconnected"


STAGES = ("queue", "validate", "preprocess", "model", "postprocess")
CUTS = ("raw", "tensor", "logits", "label")
KEPT_HEADERS = frozenset(
    {b"accept", b"content-encoding", b"content-length", b"content-type", b"user-agent", b"x-request-start"}
)
"""Headers whose values are looked at; of the others nothing is taken along."""
LATEST = 1e11
"""A larger number of seconds is one of milliseconds, microseconds or nanoseconds."""


class Stages(msgspec.Struct, frozen=True, omit_defaults=True):
    """Seconds spent in each stage, where it was measured, and in all."""

    total: float
    queue: float | None = None
    validate: float | None = None
    preprocess: float | None = None
    model: float | None = None
    postprocess: float | None = None


class Cuts(msgspec.Struct, frozen=True, omit_defaults=True):
    """A hash of the request at each cut, 16 hexadecimal digits.

    `~` before it says that a part stood for a value too large to be taken whole.
    """

    raw: str | None = None
    tensor: str | None = None
    logits: str | None = None
    label: str | None = None


class Stream(msgspec.Struct, frozen=True):
    """An answer in parts: seconds to its first part, how many there were, and the seconds between them."""

    first: float
    parts: int
    gap_mean: float
    gap_max: float


class Resources(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the serving process used, at most a second before the record was made.

    Shares of one core, bytes, and the share of the last second in which its cgroup was throttled.
    """

    cpu: float | None = None
    rss: int | None = None
    throttled: float | None = None
    gpu: float | None = None
    gpu_memory: int | None = None


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """One request. Personal values are masked: a record is what is written to disk."""

    request_id: str
    trace_id: str
    span_id: str
    time: float
    """Seconds since 1970, by the clock of the serving machine."""
    way: str
    """How it came in: asgi, wsgi, function, proxy, logs, otlp or cloudevents."""
    model: str
    version: str
    arm: Arm
    status: int
    """As HTTP says it; 200 or 500 for a function."""
    outcome: Outcome
    stages: Stages
    cuts: Cuts
    raw: str
    """Where the masked request lies: hour/writer:position, unique in its store."""
    path: str = ""
    dialect: str = ""
    request: str = ""
    """What was asked, masked: the beginning of the body, or the arguments as JSON."""
    response: str = ""
    request_bytes: int = 0
    response_bytes: int = 0
    values: dict[str, Any] = {}
    """Masked values at cuts where they could be seen."""
    headers: dict[str, str] = {}
    error: str = ""
    """The masked traceback."""
    confidence: float | None = None
    resources: Resources | None = None
    stream: Stream | None = None
    marks: tuple[str, ...] = ()
    """What the user's code said of it: an assertion that was hit, a shadow that disagreed."""
    reasons: tuple[str, ...] = ()
    """Why it was kept."""
    weight: float = 0.0
    """How many requests it stands for in a rate (Horvitz–Thompson); 0 where it is kept as a control alone."""
    control: float | None = None
    """Its place in the hour's lottery of healthy requests; the lowest are kept."""
    label: Any = None
    """The truth, where it came later."""


class Captured(msgspec.Struct, array_like=True):
    """The same in the serving process, unmasked, on its way to the writer; it is never written to disk."""

    way: str
    request_id: str
    trace_id: str
    span_id: str
    time: float
    total: float
    status: int
    model: str = ""
    version: str = ""
    arm: str = Arm.CHAMPION
    method: str = ""
    path: str = ""
    query: bytes = b""
    headers: list[tuple[bytes, bytes]] = []
    request: bytes = b""
    request_bytes: int = 0
    response: bytes = b""
    response_bytes: int = 0
    response_type: bytes = b""
    stages: dict[str, float] = {}
    values: dict[str, Any] = {}
    marks: list[str] = []
    error: str = ""
    confidence: float | None = None
    stream: Stream | None = None
    disconnected: bool = False
    label: Any = None


def outcome_of(captured: Captured) -> Outcome:
    """How a request ended: a client's hang-up is nobody's error, and what was raised is one whatever was sent."""
    if captured.error or captured.status >= 500:
        return Outcome.ERROR
    if captured.disconnected:
        return Outcome.DISCONNECTED
    return Outcome.REFUSED if captured.status >= 400 else Outcome.OK


def seconds_of(time: float) -> float:
    """A time since 1970 in seconds, milliseconds, microseconds or nanoseconds, as seconds.

    Raises:
        ValueError: when it is none, since it has no end.
    """
    if not math.isfinite(time):
        raise ValueError(f"a time must be a finite number, but got {time}")
    while abs(time) > LATEST:
        time /= 1000
    return time
