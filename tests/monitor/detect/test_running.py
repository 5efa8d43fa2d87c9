"""Detection over a store: on from where it was, each request once."""

import json
import os
import signal
import threading
import time

import msgspec
import pytest
from credit import Service
from typer.testing import CliRunner

from firstfault.cli.app import app
from firstfault.monitor.database import LABEL, LOSE
from firstfault.monitor.detect.locking import alone
from firstfault.monitor.detect.running import Run
from firstfault.monitor.detect.settings import detection_of
from firstfault.monitor.incidents import Incidents
from firstfault.monitor.ring import Ring
from firstfault.monitor.segments import Segment
from firstfault.monitor.settings import settings_of
from firstfault.monitor.store import Store
from firstfault.monitor.writer import Writer

FEW = detection_of(reference=600)


@pytest.fixture
def store(tmp_path):
    return Store(settings_of(store=tmp_path / "store", model="credit"))


def write(store, records):
    """Put records into the hours in which they were written."""
    for hour in sorted({record.raw[:13] for record in records}):
        segment = Segment(store.settings.folder, hour, "w")
        segment.write([record for record in records if record.raw.startswith(hour)])
        segment.close()


def label(store, records, at):
    """The labels of records, joined at a time."""
    rows = [{"request_id": r.request_id, "label": json.dumps(r.label), "time": at} for r in records]
    store.database.write([(LABEL, rows)])


def broken(service, n=600):
    """Requests of which every fifth fails."""
    return service.requests(n, failing=0.2)


def test_a_second_run_goes_on(store):
    """What was looked at is not looked at again; an incident opens once, and is kept with its requests held."""
    service = Service()
    write(store, service.requests(700))
    assert Run(store, FEW).once().requests == 700
    write(store, broken(service))
    found = Run(store, FEW).once()
    assert (found.requests, [incident.monitor for incident in found.opened]) == (600, ["bad_events"])
    again = Run(store, FEW).once()
    assert (again.requests, again.opened, [one.id for one in again.open]) == (0, [], [found.open[0].id])
    (kept,) = Incidents(store.database).all(is_open=True)
    assert {*kept.requests, *kept.control, *kept.usual} == store.held()


def test_runs_in_parts_find_what_one_finds(tmp_path):
    """A run after each hundred requests, each of a process that knows the store alone, opens it at the same request."""
    opened = []
    for size in (1_300, 320):
        service, store = Service(), Store(settings_of(store=tmp_path / str(size), model="credit"))
        records = [*service.requests(704), *broken(service, 596)]
        for start in range(0, len(records), size):
            write(store, records[start : start + size])
            opened += [incident.opened for incident in Run(store, FEW).once().opened]
    assert len(opened) == 2 and opened[0] == opened[1]


def test_an_incident_closes_and_keeps_the_verdict(store):
    """A later run closes it; a verdict that a diagnosis wrote meanwhile stays."""
    service = Service()
    write(store, [*service.requests(700), *broken(service)])
    (incident,) = Run(store, FEW).once().opened
    kept = Incidents(store.database)
    kept.keep(msgspec.structs.replace(kept.get(incident.id), verdict={"status": "faulty"}))
    write(store, service.requests(1_500))
    (closed,) = Run(store, FEW).once().closed
    assert kept.all() == [msgspec.structs.replace(closed, verdict={"status": "faulty"})]


def test_labels_are_joined_once_and_whenever_they_come(store):
    """Labels after their requests, before them, and those of the reference: all of them count, each once."""
    service = Service()
    usual, wrong = service.requests(700), service.requests(900, wrong=0.4)
    settings = detection_of(reference=600, labels=600)
    bare = [msgspec.structs.replace(record, label=None) for record in [*usual, *wrong]]
    write(store, bare[:900])
    Run(store, settings).once()
    label(store, usual, 100.0)
    assert Run(store, settings).once().labels == 700
    label(store, wrong, 100.0)  # with a time that was read before
    run = Run(store, settings)
    first = run.once()
    write(store, bare[900:])
    second = run.once()
    assert (first.labels, second.labels) == (200, 700)
    assert [incident.monitor for incident in [*first.opened, *second.opened]] == ["label_errors"]


def test_lost_requests_open_an_incident(store):
    """Where many requests are lost on their way, we don't see right, and it is told."""
    write(store, Service().requests(50))
    store.database.write([(LOSE, [{"hour": 0, "writer": "w", "cause": "queue", "n": 300}])])
    (incident,) = Run(store, FEW).once().opened
    assert (incident.monitor, incident.message.split(" were")[0]) == ("telemetry", "300 of 300 requests")


def test_a_process_beside_the_writer_looks_by_itself(store):
    """With `detect` in the settings, a process looks every so often; killed, it leaves what the next goes on from."""
    service = Service()
    write(store, [*service.requests(2_100), *broken(service)])
    settings = msgspec.structs.replace(store.settings, detect=0.2)
    ring = Ring.of(settings.queue)
    writer = Writer(settings, ring, os.getppid())
    working = threading.Thread(target=writer.run)
    working.start()
    try:
        while not Incidents(store.database).all():
            assert working.is_alive()
            time.sleep(0.1)
    finally:
        ring.begin_closing()
        working.join()
    assert writer.detecting.returncode == -signal.SIGKILL
    found = Run(store, detection_of()).once()
    assert (found.requests, found.opened, len(found.open)) == (0, [], 1)


def detect(store, *arguments):
    return CliRunner().invoke(app, ["monitor", "detect", "--store", store.settings.store, *map(str, arguments)])


def test_the_command_says_what_it_found(store, tmp_path):
    """Exit 4 while too little was seen, 0 while nothing is open, 1 when an incident is; the same as JSON."""
    service = Service()
    write(store, service.requests(300))
    assert detect(store, "--reference", 600).exit_code == 4
    write(store, service.requests(600))
    found = detect(store, "--reference", 600)
    assert (found.exit_code, "no incident is open" in found.stdout) == (0, True)
    write(store, broken(service))
    found = detect(store, "--reference", 600, "--json", tmp_path / "found.json")
    assert (found.exit_code, "opened credit-" in found.stdout) == (1, True)
    told = json.loads((tmp_path / "found.json").read_text())
    assert [each["monitor"] for each in told["open"]] == ["bad_events"]


def test_a_declared_period_says_what_is_usual(store):
    """--usual FROM..TO takes the requests of that time; with too few in it, the call is refused."""
    service = Service()
    records = service.requests(700)
    write(store, records)
    start = records[0].time
    found = detect(store, "--usual", f"{start}..{start + 400}")
    assert "credit is compared with the 400 requests of the declared period" in found.stdout
    fresh = Store(settings_of(store=store.settings.folder.parent / "other"))
    found = detect(fresh, "--usual", f"{start}..{start + 400}")
    assert "must hold at least 200 kept requests, but it holds 0" in str(found.exception)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--usual", "yesterday"), "--usual must be FROM..TO"),
        (("--since", "soon"), "a time must be as 2026-11-29T12:00"),
        (("--usual", "2026-11-02..2026-11-01"), "must begin before it ends"),
    ],
)
def test_a_bad_call_ends_with_2(store, arguments, said):
    """What was expected and what came."""
    found = detect(store, *arguments)
    assert found.exit_code == 2 and said in found.stderr


def test_one_process_at_a_time(store):
    """While one detects over a store, another is refused."""
    with alone(store):
        found = detect(store)
    assert found.exit_code == 2 and "one process at a time" in found.stderr
