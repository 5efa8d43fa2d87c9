"""Spans of OpenTelemetry as requests: those of servers, and those of language models' calls.

Source: OTLP 1.x, `ExportTraceServiceRequest` as JSON or protobuf; semantic conventions for HTTP and for generative AI;
OpenInference's `input.value` and `output.value`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from firstfault.errors import PrerequisiteError
from firstfault.monitor.record import ARMS, STAGES, Captured
from firstfault.monitor.settings import Settings
from firstfault.monitor.snapshot import decoded, snapshot

SERVER, FAILED = 2, 2
"""SPAN_KIND_SERVER and STATUS_CODE_ERROR."""
NANO = 1e9
INPUTS = ("input.value", "gen_ai.input.messages", "gen_ai.prompt", "mlflow.spanInputs")
OUTPUTS = ("output.value", "gen_ai.output.messages", "gen_ai.completion", "mlflow.spanOutputs")
MODELS = ("gen_ai.response.model", "gen_ai.request.model", "llm.model_name", "firstfault.model")
_KINDS = {f"SPAN_KIND_{name}": number for number, name in enumerate(("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT"))}
_STATUSES = {"STATUS_CODE_UNSET": 0, "STATUS_CODE_OK": 1, "STATUS_CODE_ERROR": 2}


def spans_of(body: bytes, kind: bytes) -> dict[str, Any]:
    """A body of an exporter as its JSON mapping has it.

    Raises:
        ValueError: when it is none.
        PrerequisiteError: when it is protobuf, and what reads that is not installed.
    """
    if kind.startswith(b"application/json"):
        return msgspec.json.decode(body, type=dict[str, Any])
    if not kind.startswith(b"application/x-protobuf"):
        raise ValueError(f"spans must come as application/json or application/x-protobuf, but got {kind.decode()!r}")
    try:
        from google.protobuf.json_format import MessageToDict
        from google.protobuf.message import DecodeError
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    except ImportError as error:
        raise PrerequisiteError(
            "spans as protobuf need opentelemetry-proto: pip install opentelemetry-proto, or let the exporter send JSON"
        ) from error
    try:
        found: dict[str, Any] = MessageToDict(ExportTraceServiceRequest.FromString(body))
    except DecodeError as error:
        raise ValueError(f"the spans can't be read: {error}") from error
    for span in _spans(found):
        for name in ("traceId", "spanId", "parentSpanId"):
            span[name] = base64.b64decode(span.get(name, "")).hex()  # protobuf's JSON of bytes, which OTLP's is not
    return found


def captured_of(body: dict[str, Any], settings: Settings) -> Iterator[Captured]:
    """The requests among the spans; spans of stages within a request are its stages.

    Raises:
        ValueError: when the spans are not what OTLP says.
    """
    try:
        spans = list(_spans(body))
        stages = _stages(spans)
        for span in spans:
            attributes = _attributes(span.get("attributes", ()))
            if _kind(span) == SERVER or any(name in attributes for name in (*MODELS, *INPUTS)):
                yield _captured(span, attributes, stages.get(str(span.get("spanId")), {}), settings)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the spans are not what OTLP says: {error!r}") from error


def _spans(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for resource in body.get("resourceSpans", ()):
        for scope in resource.get("scopeSpans", ()):
            yield from scope.get("spans", ())


def _kind(span: Mapping[str, Any]) -> int:
    kind = span.get("kind", 0)
    return _KINDS.get(kind, 0) if isinstance(kind, str) else int(kind)


def _stages(spans: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Seconds of the spans that are called like a stage, by the span around them."""
    found: dict[str, dict[str, float]] = {}
    for span in spans:
        if span.get("name") in STAGES and span.get("parentSpanId"):
            found.setdefault(str(span["parentSpanId"]), {})[str(span["name"])] = _seconds(span)
    return found


def _seconds(span: Mapping[str, Any]) -> float:
    return max(0.0, (int(span["endTimeUnixNano"]) - int(span["startTimeUnixNano"])) / NANO)


def _attributes(pairs: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {str(pair["key"]): _value(pair.get("value", {})) for pair in pairs}


def _value(value: Mapping[str, Any]) -> Any:
    """One of OTLP's values: a number as text, a list, a mapping, or a text."""
    for name, found in value.items():
        if name == "arrayValue":
            return [_value(item) for item in found.get("values", ())]
        if name == "kvlistValue":
            return _attributes(found.get("values", ()))
        return int(found) if name == "intValue" else found
    return None


def _captured(
    span: Mapping[str, Any], attributes: Mapping[str, Any], stages: dict[str, float], settings: Settings
) -> Captured:
    failed = _failed(span)
    status = attributes.get("http.response.status_code", attributes.get("http.status_code", 500 if failed else 200))
    arm = attributes.get("firstfault.arm", settings.arm)
    values = {}
    for cut, names in (("raw", INPUTS), ("label", OUTPUTS)):
        found = next((attributes[name] for name in names if name in attributes), None)
        if found is not None:
            values[cut] = snapshot(decoded(found))
    return Captured(
        "otlp",
        str(attributes.get("firstfault.request_id", span["spanId"])),
        str(span["traceId"]),
        str(span["spanId"]),
        int(span["startTimeUnixNano"]) / NANO,
        _seconds(span),
        int(status),
        str(next((attributes[name] for name in MODELS if name in attributes), settings.model)),
        str(attributes.get("firstfault.version", settings.version)),
        arm if arm in ARMS else settings.arm,
        method=str(attributes.get("http.request.method", attributes.get("http.method", ""))),
        path=str(attributes.get("url.path", attributes.get("http.target", span.get("name", "")))),
        query=str(attributes.get("url.query", "")).encode(),
        stages=stages,
        values=values,
        error=_error(span) if failed else "",
    )


def _failed(span: Mapping[str, Any]) -> bool:
    code = span.get("status", {}).get("code", 0)
    return (_STATUSES.get(code, 0) if isinstance(code, str) else int(code)) == FAILED


def _error(span: Mapping[str, Any]) -> str:
    """The traceback of a span that failed, else its message."""
    for event in span.get("events", ()):
        attributes = _attributes(event.get("attributes", ()))
        if "exception.stacktrace" in attributes or "exception.message" in attributes:
            return str(attributes.get("exception.stacktrace", attributes.get("exception.message")))
    return str(span.get("status", {}).get("message", "")) or "the span failed"
