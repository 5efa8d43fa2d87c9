"""`/metrics`: what it tells of a store, and of one that is gone."""

import shutil
import subprocess
import time
import urllib.error
import urllib.request

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from firstfault.monitor.database import TOTAL, Database
from firstfault.monitor.exporters import figures
from firstfault.monitor.exporters.metrics_server import metrics_served
from firstfault.monitor.exporters.prometheus import exposition
from firstfault.monitor.incidents import KEEP, Incidents
from firstfault.monitor.retention import prune
from firstfault.monitor.ring import Ring
from firstfault.monitor.settings import settings_of
from firstfault.monitor.writer import Writer


@pytest.fixture
def read(settings):
    """Reads the page as Prometheus does: the value of every sample by its name and labels."""

    def samples():
        _, page = exposition(figures.families(Database(settings)))
        return {
            (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(page.decode())
            for sample in family.samples
        }

    return samples


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


def test_what_several_processes_serve_adds_up(read, serve, captured):
    """Requests by outcome, latencies, stages, confidence and what is kept are of all that serve one store."""
    stages = {"preprocess": 0.25, "model": 0.5, "tea": 9.0}
    serve(captured("a", total=0.002, stages=stages, confidence=0.3), captured("b", 404, 0.05, confidence=1.0))
    serve(captured("c", 500, 80.0), captured("d", total=0.002, version="8", stages=stages))
    found = read()
    requests = "firstfault_requests_total", "champion", ""
    assert [found[*requests, outcome, ""] for outcome in ("ok", "refused", "error", "disconnected")] == [1, 1, 1, 0]
    assert found[*requests, "ok", "8"] == 1
    seconds = "firstfault_request_duration_seconds"
    ends = ("0.001", "0.0025", "0.05", "60.0", "+Inf")
    assert [found[f"{seconds}_bucket", "champion", end, "", ""] for end in ends] == [0, 1, 2, 2, 3]
    assert found[f"{seconds}_count", "champion", "", ""] == 3
    assert found[f"{seconds}_sum", "champion", "", ""] == pytest.approx(80.052)
    ends = ("0.2", "0.3", "0.9", "1.0", "+Inf")
    confidence = "firstfault_confidence_ratio_bucket", "champion"
    assert [found[*confidence, end, "", ""] for end in ends] == [0, 1, 1, 2, 2]
    stage = "firstfault_stage_duration_seconds"
    assert found[f"{stage}_sum", "champion", "", "model", ""] == 0.5
    assert (f"{stage}_sum", "champion", "", "tea", "") not in found
    assert found["firstfault_requests_kept_total", "champion", "", "sample", ""] == 3
    assert found["firstfault_requests_lost_total", "queue"] == 0
    assert found["firstfault_undelivered_total", "spans"] == 0
    assert found["firstfault_model_last_request_timestamp_seconds", "champion", "", ""] == 1_700_000_000 // 60 * 60


def test_what_no_sum_can_hold_stays_a_request(read, serve, captured):
    """A duration that is endless, negative or no number is counted, and spoils no sum."""
    serve(
        captured("a", total=float("inf")), captured("b", total=float("nan")), captured("c", total=-1.0), captured("d")
    )
    found = read()
    assert found["firstfault_request_duration_seconds_count", "champion", "", ""] == 4
    assert found["firstfault_request_duration_seconds_sum", "champion", "", ""] == 0.01
    assert found["firstfault_requests_lost_total", "analysis"] == 0


def test_counters_never_fall(read, serve, captured, settings):
    """What is too old goes from the counts of minutes, not from what Prometheus would take for a restart."""
    serve(captured("a"), captured("b", 500))
    Database(settings).write([("DELETE FROM labels", [{}])])
    before = read()
    prune(settings, 2_000_000_000.0)
    assert Database(settings).rows("SELECT COUNT(*) FROM counts") == [(0,)]
    assert read()["firstfault_requests_total", "champion", "", "ok", ""] == 1
    assert read().keys() == before.keys()


def test_what_is_lost_is_told(read, captured, settings):
    """A queue that overflows and a request that can't be read show as causes."""
    ring = Ring.of(settings.queue)
    ring.put(b"nonsense")
    ring.lose(10)
    writer = Writer(settings, ring, 1)
    ring.lose(10)
    writer.take()
    writer.write()
    assert read()["firstfault_requests_lost_total", "analysis"] == 1
    assert read()["firstfault_requests_lost_total", "queue"] == 1


def test_a_writer_says_how_far_behind_it_is(read, captured, settings):
    """Its lag and its silence show while it lives, and when it was killed; one that has ended is not missed."""
    ring = Ring.of(settings.queue)
    late = msgspec.structs.replace(captured("a"), time=time.time() - 30.0)
    ring.put(msgspec.msgpack.encode(late))
    writer = Writer(settings, ring, 1)
    writer.take()
    writer.write()
    found = read()
    assert found["firstfault_writers",] == 1 and 29 < found["firstfault_writer_lag_seconds",] < 60
    Database(settings).write([("UPDATE beats SET time = time - 100", [{}])])
    assert read()["firstfault_writer_silence_seconds",] > 99
    ring.begin_closing()
    writer.run()
    assert read()["firstfault_writers",] == 0 and read()["firstfault_writer_silence_seconds",] == 0


def test_incidents_are_told_by_layer(read, settings, opened):
    """Those that are open, those that were diagnosed, and their times with what they were."""
    incidents = Incidents(Database(settings))
    verdict = {"first_faulty_layer": "data", "status": "faulty", "faults": [{"fault": "unit_change", "layer": "data"}]}
    incidents.keep(opened)
    incidents.keep(msgspec.structs.replace(opened, id="i-2", verdict=verdict))
    over = msgspec.structs.replace(opened, id="i-3", closed=time.time(), verdict={"first_faulty_layer": None})
    incidents.keep(over)
    found = read()
    assert found["firstfault_incidents_opened_total", "churn", "bad_events"] == 3
    assert found["firstfault_incidents_open", "undiagnosed", "churn"] == 1
    assert found["firstfault_incidents_open", "data", "churn"] == 1
    assert (
        found["firstfault_incidents_total", "data", "churn"]
        == found["firstfault_incidents_total", "none", "churn"]
        == 1
    )
    told = "unit_change", "i-2", "data", "churn", "bad_events"
    assert found["firstfault_incident_began_timestamp_seconds", *told] == opened.began
    assert [key[2] for key in found if key[0] == "firstfault_incident_closed_timestamp_seconds"] == ["i-3"]
    incidents.keep(msgspec.structs.replace(over, closed=1_700_000_100.0))
    assert "firstfault_incident_closed_timestamp_seconds" not in {key[0] for key in read()}


def test_an_incident_that_can_not_be_read_hides_no_other(read, settings, opened, caplog):
    """As one that another version wrote: it is said, and the rest is shown."""
    Incidents(Database(settings)).keep(opened)
    strange = {"id": "i-9", "model": "churn", "opened": 1.0, "document": '{"id": "i-9", "verdict": [1]}'}
    Database(settings).write([(KEEP, [strange])])
    assert read()["firstfault_incidents_open", "undiagnosed", "churn"] == 1
    assert "the incident i-9 can't be read" in caplog.text


def test_names_that_requests_bring_along_do_not_flood_it(read, settings):
    """The first models that were seen have their series, however many names come after them."""
    rows = [
        {
            "model": f"m{number:04}",
            "version": "",
            "arm": "champion",
            "name": "requests",
            "n": 1,
            "since": number,
            "last": 0,
        }
        for number in reversed(range(1_000))
    ]
    Database(settings).write([(TOTAL, rows)])
    shown = {key[2] for key in read() if key[0] == "firstfault_model_info"}
    assert shown == {f"m{number:04}" for number in range(figures.MOST_MODELS)}


def asked(port, path, **headers):
    """Status, type and text of an answer."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.headers["content-type"], answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.headers["content-type"], refused.read().decode()


def test_it_is_served(settings, serve, captured):
    """In Prometheus' format, in OpenMetrics where that is asked for, and nothing else at other paths."""
    serve(captured('a"\n'))
    with metrics_served(settings, "127.0.0.1", 0) as port:
        status, kind, page = asked(port, "/metrics?x")
        assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
        assert "firstfault_database_up 1.0\n" in page
        assert asked(port, "/metrics", accept="application/openmetrics-text; version=1.0.0")[2].endswith("# EOF\n")
        assert asked(port, "/health")[::2] == (200, "ok\n")
        assert asked(port, "/predict")[0] == 404


@pytest.mark.parametrize("what", ["absent", "garbage"])
def test_a_dead_database_is_told(tmp_path, caplog, what):
    """The page says so, /health answers 503, and neither is a traceback."""
    if what == "garbage":
        (tmp_path / "monitor.db").write_bytes(b"no database" * 1_000)
        settings = settings_of(store=tmp_path)
    else:
        settings = settings_of(store=tmp_path, database=f"sqlite:///{tmp_path}/no/such/folder.db")
    with metrics_served(settings, "127.0.0.1", 0) as port:
        status, _, page = asked(port, "/metrics")
        assert (status, asked(port, "/health")[0]) == (200, 503)
    assert "firstfault_database_up 0.0\n" in page and "firstfault_build_info" in page
    assert "firstfault_requests" not in page and "Traceback" not in page + caplog.text


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Prometheus is not installed")
def test_prometheus_own_linter_finds_nothing(settings, serve, captured, opened):
    """Names, units and types are what Prometheus' conventions say."""
    serve(captured("a", stages={"model": 0.1}, confidence=0.5), captured("b", 500))
    Incidents(Database(settings)).keep(opened)
    _, page = exposition(figures.families(Database(settings)))
    found = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, check=False)
    assert (found.returncode, found.stdout + found.stderr) == (0, b"")
