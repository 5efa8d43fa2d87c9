"""What is sent over OTLP: spans, metrics and log records, each once, and what a receiver that takes none costs."""

import time
from functools import partial
from pathlib import Path

import msgspec
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from servers import listening

from firstfault.errors import FirstfaultError
from firstfault.monitor.database import Database
from firstfault.monitor.exporters import otlp_sender
from firstfault.monitor.exporters.otlp_receiver import keys_of_receivers
from firstfault.monitor.exporters.otlp_sender import OtlpSender
from firstfault.monitor.hours import close_hours, hours_of
from firstfault.monitor.incidents import Incidents
from firstfault.monitor.receiver import listen
from firstfault.monitor.ring import Ring
from firstfault.monitor.settings import settings_of
from firstfault.monitor.store import Store
from firstfault.monitor.writer import Writer

MESSAGES = {
    "/v1/traces": ExportTraceServiceRequest,
    "/v1/metrics": ExportMetricsServiceRequest,
    "/v1/logs": ExportLogsServiceRequest,
}


@pytest.fixture
def sender(settings, collector, monkeypatch):
    """Makes senders of one store; each is as that of a new process."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.5")
    return lambda: OtlpSender(settings)


@pytest.fixture
def serve(settings):
    """Has a serving process of its own record requests."""

    def record(*requests):
        ring = Ring.of(settings.queue)
        for request in requests:
            ring.put(msgspec.msgpack.encode(request))
        ring.begin_closing()
        Writer(settings, ring, 1).run()
        ring.close()

    return record


def came(collector, path):
    """The messages that came to a path."""
    return [MESSAGES[path].FromString(body) for where, _, body in collector.came if where == path]


def spans_in(collector):
    """The spans that came, with the names of their services."""
    return [
        (next(pair.value.string_value for pair in each.resource.attributes if pair.key == "service.name"), span)
        for message in came(collector, "/v1/traces")
        for each in message.resource_spans
        for scope in each.scope_spans
        for span in scope.spans
    ]


def attributes(span):
    """A span's attributes as texts and numbers."""
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in span.attributes}


def test_a_request_is_a_span_with_its_stages(sender, serve, captured, collector):
    """Under the ids with which it was recorded, with what is known of it, and none of its values."""
    stages = {"queue": 0.5, "preprocess": 0.25, "model": 0.5}
    failed = captured(
        "a", 500, 1.0, stages=stages, method="POST", path="/predict", confidence=0.5, error="KeyError: 'age'",
        request=b'{"secret": 4711}', values={"label": "4711"}, model="churn",
    )  # fmt: skip
    serve(failed)
    sender().send()
    (name, request), *stages = spans_in(collector)
    assert (name, request.name, request.kind) == ("churn", "POST /predict", 2)
    assert request.trace_id.hex() == failed.trace_id and request.span_id.hex() == failed.span_id
    assert (request.start_time_unix_nano, request.end_time_unix_nano) == (1_700_000_000 * 10**9, 1_700_000_001 * 10**9)
    assert request.status.code == 2 and request.events[0].name == "exception"
    found = attributes(request)
    assert found["http.response.status_code"] == 500 and found["firstfault.outcome"] == "error"
    assert found["firstfault.confidence"] == 0.5 and len(found["firstfault.cut.label"]) == 16
    assert b"4711" not in b"".join(body for _, _, body in collector.came)
    begins = [(span.name, (span.start_time_unix_nano - request.start_time_unix_nano) / 1e9) for _, span in stages]
    assert begins == [("queue", -0.5), ("preprocess", 0.0), ("model", 0.25)]
    assert {span.parent_span_id.hex() for _, span in stages} == {failed.span_id}
    assert len({span.span_id for _, span in stages}) == 3


def test_each_request_is_sent_once(sender, serve, captured, collector):
    """Over rounds, restarts and several writers; spans that came over OTLP themselves are not sent in a circle."""
    serve(captured("a"), captured("b"))
    first = sender()
    first.send()
    serve(captured("c"), msgspec.structs.replace(captured("d"), way="otlp"))
    first.send()
    first.send()
    second = sender()
    second.send()
    serve(captured("e"))
    second.send()
    sent = [attributes(span)["firstfault.request_id"] for _, span in spans_in(collector)]
    assert len(sent) == 4 and len(set(sent)) == 4


def test_an_hour_that_became_parquet_is_sent_once(sender, serve, captured, collector, settings):
    """What was sent as lines is not sent again, and what was not, is; an hour that is long over stays where it is."""
    serve(captured("a"))
    one = sender()
    one.send()
    serve(captured("b"))
    close_hours(settings, time.time() + 3_600.0)
    one.send()
    sender().send()
    assert [attributes(span)["firstfault.request_id"] for _, span in spans_in(collector)] == ["a", "b"]
    collector.came = []
    Database(settings).write([("DELETE FROM exported", [{}])])
    path = Path(hours_of(settings)[0].removeprefix("file://"))
    path.rename(path.with_name(f"2023-11-14T22{path.name[13:]}"))
    sender().send()
    assert spans_in(collector) == []


def test_a_receiver_that_comes_back_gets_all(sender, serve, captured, collector, caplog):
    """What it refused waits in the store, in order, and only the outage is said."""
    serve(*(captured(f"r{number}") for number in range(otlp_sender.AT_ONCE + 1)))
    collector.statuses = [400] * 50
    one = sender()
    one.send()
    one.send()
    assert caplog.text.count("takes nothing; they wait in the store") == 1 and collector.url not in caplog.text
    collector.statuses, collector.came = [], []
    one.send()
    assert len(spans_in(collector)) == otlp_sender.AT_ONCE + 1
    assert Database(one._settings).rows("SELECT * FROM undelivered") == []


def test_a_receiver_that_never_takes_anything_is_given_up(sender, serve, captured, collector, settings, monkeypatch):
    """What is not sent is counted, and is not tried again."""
    monkeypatch.setattr(otlp_sender, "GIVE_UP_SECONDS", 0.0)
    serve(captured("a"), captured("b"))
    collector.statuses = [400] * 50
    sender().send()
    assert Database(settings).rows("SELECT what, n FROM undelivered") == [("spans", 2)]
    collector.statuses, collector.came = [], []
    sender().send()
    assert spans_in(collector) == []


def test_metrics_are_those_of_prometheus(sender, serve, captured, collector):
    """The same figures, cumulative, with OpenTelemetry's units."""
    serve(captured("a", total=0.002, stages={"model": 0.5}), captured("b", 500))
    sender().send()
    (message,) = came(collector, "/v1/metrics")
    metrics = {
        metric.name: metric
        for each in message.resource_metrics
        for scope in each.scope_metrics
        for metric in scope.metrics
    }
    requests = metrics["firstfault.requests"].sum
    assert requests.is_monotonic and requests.aggregation_temporality == 2
    assert {attributes(point)["outcome"]: point.as_double or point.as_int for point in requests.data_points} == {
        "ok": 1, "error": 1, "refused": 0, "disconnected": 0,
    }  # fmt: skip
    duration = metrics["firstfault.request_duration"]
    (point,) = duration.histogram.data_points
    assert (duration.unit, point.count, point.sum, point.bucket_counts[1]) == ("s", 2, pytest.approx(0.012), 1)
    assert len(point.bucket_counts) == len(point.explicit_bounds) + 1 and not point.HasField("min")
    (stage,) = metrics["firstfault.stage_duration"].histogram.data_points
    assert (stage.count, stage.sum, list(stage.explicit_bounds)) == (1, 0.5, [])
    assert metrics["firstfault.database_up"].gauge.data_points[0].as_int == 1


def test_an_incident_is_two_log_records(sender, collector, settings, opened):
    """One when it was opened, one when it is over; those before the sender's time are none."""
    incidents = Incidents(Database(settings))
    incidents.keep(msgspec.structs.replace(opened, id="i-0"))
    one = sender()
    one.send()
    now = time.time()
    incidents.keep(recent := msgspec.structs.replace(opened, opened=now + 1))
    one.send()
    incidents.keep(msgspec.structs.replace(recent, closed=now + 2))
    one.send()
    sender().send()
    logs = [
        log
        for message in came(collector, "/v1/logs")
        for each in message.resource_logs
        for scope in each.scope_logs
        for log in scope.log_records
    ]
    assert [(log.event_name, log.severity_text) for log in logs] == [
        ("firstfault.incident.opened", "ERROR"),
        ("firstfault.incident.closed", "INFO"),
    ]
    assert logs[0].body.string_value == "churn 7: incident i-1 (bad_events): 9 of 40 <failed>"
    assert attributes(logs[0])["firstfault.incident.id"] == "i-1"


def test_our_own_receiver_understands_it(sender, serve, captured, recorder, tmp_path, monkeypatch):
    """Sent to `--receive` of another store, requests are there what they were here."""
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "none")
    serve(captured("a", 503, 0.25, stages={"model": 0.125}, method="POST", path="/p", error="KeyError: 'age'"))
    there = type(recorder)(settings_of(store=tmp_path / "there", sample=1.0))
    with listening(partial(listen, there, "127.0.0.1", 0)) as port:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
        sender().send()
    (sent,), (found,) = Store(recorder.settings).records(), there.written()
    for name in ("trace_id", "span_id", "time", "stages", "status", "outcome", "model", "version", "path", "error"):
        assert getattr(found, name) == getattr(sent, name), name


def test_ids_that_are_none_get_others(sender, serve, captured, collector):
    """Logs of others may hold any id: a span's is a number that is not 0."""
    serve(msgspec.structs.replace(captured("a"), trace_id="order 7", span_id="0" * 16))
    sender().send()
    ((_, span),) = spans_in(collector)
    assert int(span.trace_id.hex(), 16) and int(span.span_id.hex(), 16)


def test_no_receiver_is_a_bad_call(settings):
    """The sentence says what to set."""
    with pytest.raises(FirstfaultError, match="OTEL_EXPORTER_OTLP_ENDPOINT must name the receiver"):
        OtlpSender(settings)


def test_a_receiver_is_the_same_by_whichever_variable_it_is_named():
    """What it was sent is not sent again after it is named as the receiver of traces alone."""
    all_three = keys_of_receivers({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://otel:4318/"})
    alone = keys_of_receivers({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://otel:4318/v1/traces"})
    assert alone == {"traces": all_three["traces"]} and len(set(all_three.values())) == 3
