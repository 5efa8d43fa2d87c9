"""CloudEvents as KServe's logger sends them: a request and its answer are two events of the same id.

Source: CloudEvents 1.0, HTTP binding; KServe's inference logger, with the types
`org.kubeflow.serving.inference.request` and `.response`.
"""

from __future__ import annotations

import base64
from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from firstfault.logs.trace_context import parse
from firstfault.monitor.record import Captured
from firstfault.monitor.settings import Settings

ASKED, ANSWERED = "org.kubeflow.serving.inference.request", "org.kubeflow.serving.inference.response"
STRUCTURED = b"application/cloudevents+json"
WAIT_SECONDS = 60.0
"""How long one event waits for the other."""
MOST_WAITING_BYTES = 32 << 20


class Event(msgspec.Struct):
    """One event."""

    id: str
    type: str
    time: float
    model: str
    trace: str
    data: bytes
    data_type: bytes


def event_of(headers: Mapping[bytes, bytes], body: bytes, now: float) -> Event:
    """The event that a request brings, in binary or structured mode.

    Raises:
        ValueError: when it is none of KServe's.
    """
    if headers.get(b"content-type", b"").startswith(STRUCTURED):
        attributes, data, data_type = _structured(body)
    else:
        prefixed = {name[3:]: value for name, value in headers.items() if name[:3] == b"ce-"}
        attributes = {name.decode(): value.decode("utf-8", "replace") for name, value in prefixed.items()}
        data, data_type = body, headers.get(b"content-type", b"application/json")
    if attributes.get("type") not in (ASKED, ANSWERED) or not attributes.get("id"):
        raise ValueError(f"a CloudEvent must have an id and the type {ASKED} or {ANSWERED}")
    return Event(
        attributes["id"],
        attributes["type"],
        _time(attributes.get("time"), now),
        attributes.get("inferenceservicename", ""),
        attributes.get("traceparent", headers.get(b"traceparent", b"").decode("latin-1")),
        data,
        data_type,
    )


def _structured(body: bytes) -> tuple[dict[str, str], bytes, bytes]:
    event = msgspec.json.decode(body, type=dict[str, Any])
    encoded = event.get("data_base64")
    data = base64.b64decode(encoded) if isinstance(encoded, str) else msgspec.json.encode(event.get("data"))
    attributes = {name: value for name, value in event.items() if isinstance(value, str)}
    return attributes, data, attributes.get("datacontenttype", "application/json").encode()


def _time(text: str | None, now: float) -> float:
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() if text else now
    except ValueError:
        return now


class Pairs:
    """Events that wait for the other of their pair, bounded in time and bytes."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._waiting: OrderedDict[str, tuple[float, Event]] = OrderedDict()
        self._bytes = 0

    def add(self, event: Event, now: float) -> list[Captured]:
        """What is whole now: the request of this event, and those that have waited too long for their other half."""
        whole = []
        before = self._waiting.get(event.id)
        if before is not None and before[1].type != event.type:
            self._leave(event.id)
            whole.append(self._captured(*sorted((before[1], event), key=lambda each: each.type == ANSWERED)))
        else:
            if before is not None:
                self._leave(event.id)
            self._waiting[event.id] = (now, event)
            self._bytes += len(event.data)
        return whole + self._late(now)

    def rest(self) -> list[Captured]:
        """What still waits."""
        return self._late(float("inf"))

    def _late(self, now: float) -> list[Captured]:
        late = []
        while self._waiting:
            name, (came, event) = next(iter(self._waiting.items()))
            if now - came < WAIT_SECONDS and self._bytes <= MOST_WAITING_BYTES:
                break
            self._leave(name)
            late.append(self._captured(event, None) if event.type == ASKED else self._captured(None, event))
        return late

    def _leave(self, name: str) -> None:
        _, event = self._waiting.pop(name)
        self._bytes -= len(event.data)

    def _captured(self, asked: Event | None, answered: Event | None) -> Captured:
        """A request of which both halves are known, or one that lacks one and is marked so."""
        known = asked or answered
        assert known is not None
        context = parse(known.trace)
        captured = Captured(
            "cloudevents",
            known.id,
            context.trace_id if context else "",
            context.span_id if context else "",
            known.time,
            max(0.0, answered.time - asked.time) if asked and answered else 0.0,
            200,
            known.model or self.settings.model,
            self.settings.version,
            self.settings.arm,
            method="POST",
            path=_path(asked or known, known.model),
        )
        if asked is not None:
            captured.headers = [(b"content-type", asked.data_type)]
            captured.request, captured.request_bytes = asked.data[: self.settings.body], len(asked.data)
        if answered is not None:
            captured.response, captured.response_bytes = answered.data[: self.settings.body], len(answered.data)
            captured.response_type = answered.data_type
        if asked is None or answered is None:
            captured.marks = ["unanswered" if answered is None else "unasked"]
        return captured


def _path(event: Event, model: str) -> str:
    """The path that such a request has: V2 where it has tensors with types."""
    name = model or "model"
    return f"/v2/models/{name}/infer" if b'"datatype"' in event.data[:4096] else f"/v1/models/{name}:predict"
