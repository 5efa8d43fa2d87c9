"""What others send about requests: OpenTelemetry's spans and KServe's events."""

import base64
import gzip
import json
from functools import partial

import msgspec
import pytest
from servers import answered, listening

from firstfault.monitor.cloud_events import ANSWERED, ASKED, MOST_WAITING_BYTES, WAIT_SECONDS, Pairs, event_of
from firstfault.monitor.receiver import Receiver, listen

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def attributes(**values):
    """Attributes as OTLP writes them; `__` stands for a dot."""
    kinds = {int: "intValue", str: "stringValue", float: "doubleValue"}
    return [
        {"key": key.replace("__", "."), "value": {kinds[type(value)]: str(value) if type(value) is int else value}}
        for key, value in values.items()
    ]


def spans(*found):
    """An exporter's body."""
    return {"resourceSpans": [{"scopeSpans": [{"spans": list(found)}]}]}


SERVED = {
    "traceId": TRACE,
    "spanId": SPAN,
    "name": "POST /predict",
    "kind": 2,
    "startTimeUnixNano": "1700000000000000000",
    "endTimeUnixNano": "1700000000250000000",
    "attributes": attributes(http__request__method="POST", url__path="/predict", http__response__status_code=503),
    "status": {"code": 2},
    "events": [{"name": "exception", "attributes": attributes(exception__stacktrace="KeyError: 'age'")}],
}
STAGE = {
    **SERVED,
    "spanId": "1" * 16,
    "parentSpanId": SPAN,
    "name": "model",
    "kind": 1,
    "endTimeUnixNano": "1700000000100000000",
    "attributes": [],
    "status": {},
}
CALLED = {
    **SERVED,
    "spanId": "2" * 16,
    "name": "chat",
    "kind": "SPAN_KIND_CLIENT",
    "status": {},
    "events": [],
    "attributes": attributes(gen_ai__request__model="tiny", input__value='{"messages": ["hi"]}', output__value="Hello"),
}


@pytest.fixture
def receiver(recorder):
    """What takes one request after the other."""
    return Receiver(recorder)


def as_protobuf(body):
    """The same spans as an exporter of protobuf sends them."""
    from google.protobuf.json_format import ParseDict
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    body = json.loads(json.dumps(body))
    for span in body["resourceSpans"][0]["scopeSpans"][0]["spans"]:
        for name in ("traceId", "spanId", "parentSpanId"):
            span[name] = base64.b64encode(bytes.fromhex(span.get(name, ""))).decode()
    return ParseDict(body, ExportTraceServiceRequest()).SerializeToString()


@pytest.mark.parametrize("form", ["json", "gzip", "protobuf"])
def test_spans_become_records(receiver, recorder, form):
    """A server's span has its stages and its traceback; a language model's call has what was said; others are none."""
    body = json.dumps(spans(SERVED, STAGE, CALLED, {**STAGE, "spanId": "3" * 16, "name": "other"})).encode()
    headers = {b"content-type": b"application/json"}
    if form == "gzip":
        body, headers = gzip.compress(body), {**headers, b"content-encoding": b"gzip"}
    elif form == "protobuf":
        body, headers = as_protobuf(json.loads(body)), {b"content-type": b"application/x-protobuf"}
    assert receiver.receive("POST", "/v1/traces", headers, body)[0] == 200
    found = {record.span_id: record for record in recorder.written()}
    served, called = found[SPAN], found["2" * 16]
    assert len(found) == 2
    assert (served.way, served.trace_id, served.status, served.outcome) == ("otlp", TRACE, 503, "error")
    assert (served.path, served.error, served.stages.total) == ("POST /predict", "KeyError: 'age'", 0.25)
    assert served.stages.model == 0.1
    assert (called.model, called.outcome) == ("tiny", "ok")
    assert called.values == {"raw": {"messages": ["hi"]}, "label": "Hello"}


def event(kind, data, name="e1", **more):
    """An event in binary mode."""
    headers = {
        b"content-type": b"application/json",
        b"ce-id": name.encode(),
        b"ce-type": kind.encode(),
        b"ce-inferenceservicename": b"iris",
        b"ce-specversion": b"1.0",
        **{f"ce-{key}".encode(): value.encode() for key, value in more.items()},
    }
    return headers, json.dumps(data).encode()


ASKED_DATA = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}
ANSWERED_DATA = {
    "model_version": "3",
    "outputs": [{"name": "p", "shape": [1, 2], "datatype": "FP32", "data": [0.1, 0.9]}],
}


@pytest.mark.parametrize("turned", [False, True], ids=["in_order", "answer_first"])
def test_two_events_are_one_request(receiver, recorder, turned):
    """Question and answer meet by their id, in whichever order they come."""
    pair = [
        event(ASKED, ASKED_DATA, time="2023-11-14T22:13:20Z"),
        event(ANSWERED, ANSWERED_DATA, time="2023-11-14T22:13:20.5Z"),
    ]
    for headers, body in reversed(pair) if turned else pair:
        assert receiver.receive("POST", "/", headers, body)[0] == 202
    (record,) = recorder.written()
    assert (record.way, record.request_id, record.dialect, record.model) == ("cloudevents", "e1", "kserve_v2", "iris")
    assert record.confidence == 0.9 and record.stages.total == 0.5 and record.time == 1_700_000_000.0
    assert record.cuts.tensor and record.cuts.label


def test_an_event_in_structured_mode(receiver, recorder):
    """The same as one JSON body."""
    for kind, data in ((ASKED, {"instances": [[1]]}), (ANSWERED, {"predictions": [1]})):
        body = json.dumps({"id": "s", "type": kind, "specversion": "1.0", "data": data}).encode()
        receiver.receive("POST", "/", {b"content-type": b"application/cloudevents+json"}, body)
    (record,) = recorder.written()
    assert (record.request, record.response, record.dialect) == (
        '{"instances":[[1]]}',
        '{"predictions":[1]}',
        "kserve_v1",
    )


def test_half_a_pair_is_recorded_as_such(receiver, recorder):
    """An event whose other half does not come is marked, when its time is over or when the receiver ends."""
    receiver.receive("POST", "/", *event(ASKED, {"instances": [[1]]}, "a"))
    receiver.receive("POST", "/", *event(ANSWERED, {"predictions": [1]}, "b"))
    receiver.end()
    assert {record.request_id: record.marks for record in recorder.written()} == {
        "a": ("unanswered",),
        "b": ("unasked",),
    }


def test_events_wait_within_bounds(settings):
    """Neither time nor bytes of what waits grow without end."""
    pairs = Pairs(settings)
    assert pairs.add(event_of(*event(ASKED, {}, "old"), 0.0), 0.0) == []
    (late,) = pairs.add(event_of(*event(ASKED, {}, "new"), 0.0), WAIT_SECONDS + 1)
    assert late.request_id == "old"
    large = event_of(*event(ASKED, {}, "large"), 0.0)
    found = pairs.add(msgspec.structs.replace(large, data=b"x" * (MOST_WAITING_BYTES + 1)), WAIT_SECONDS + 2)
    assert [captured.request_id for captured in found] == ["new", "large"]


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status", "said"),
    [
        ("GET", "/v1/traces", {}, b"", 405, "posted"),
        ("POST", "/v1/traces", {b"content-type": b"application/json"}, b"{no", 400, "malformed"),
        ("POST", "/v1/traces", {b"content-type": b"application/json"}, b'{"resourceSpans": [1]}', 400, "not what OTLP"),
        ("POST", "/v1/traces", {b"content-type": b"text/plain"}, b"", 400, "application/json or"),
        ("POST", "/v1/traces", {b"content-type": b"application/x-protobuf"}, b"\xff\xff", 400, "can't be read"),
        ("POST", "/v1/traces", {b"content-encoding": b"gzip"}, b"no gzip", 400, "is no gzip"),
        ("POST", "/v1/traces", {b"content-encoding": b"br"}, b"", 400, "as it is or as gzip"),
        ("POST", "/v1/metrics", {}, b"", 404, "spans alone are taken, at /v1/traces"),
        ("POST", "/", {}, b"{}", 400, "must have an id and the type"),
        ("POST", "/", {b"content-type": b"application/cloudevents+json"}, b"[1]", 400, "Expected"),
    ],
)
def test_what_can_not_be_read_is_refused(receiver, recorder, method, path, headers, body, status, said):
    """The sender is told what was expected, and nothing is recorded."""
    found, answer = receiver.receive(method, path, headers, body)
    assert found == status and said in answer.decode()
    assert recorder.counts["taken"] == 0


def test_it_listens(recorder):
    """Over a socket: requests that follow each other are answered in turn, and what is no HTTP ends the connection."""
    body = json.dumps(spans(SERVED)).encode()
    request = b"POST /v1/traces HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: %d\r\n" % len(body)
    twice = request + b"\r\n" + body + request + b"connection: close\r\n\r\n" + body
    with listening(partial(listen, recorder, "127.0.0.1", 0)) as port:
        assert answered(port, twice).count(b"HTTP/1.1 200 OK") == 2
        assert answered(port, b"NONSENSE\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert len(recorder.written()) == 2
