"""Alerts: who is told what of an incident, once, and what a receiver that doesn't take it costs."""

import base64
import json
import subprocess
import sys
import time

import msgspec
import pytest

from firstfault.errors import FirstfaultError
from firstfault.monitor.database import Database, StoreError
from firstfault.monitor.exporters import alerts, outbox
from firstfault.monitor.exporters.outbox import Letter, Outbox
from firstfault.monitor.exporters.receivers import key_of_receiver
from firstfault.monitor.incidents import Incidents
from firstfault.monitor.settings import note_settings, settings_of

SECRET = "T0K3N-of-the-team"


@pytest.fixture
def told_by(tmp_path):
    """Settings of one store that tell these receivers."""
    return lambda *receivers: settings_of(store=tmp_path / "store", alerts=receivers)


def states(settings):
    """How each telling ended, but for Prefect's."""
    return Database(settings).rows("SELECT word, state, tries FROM alerts WHERE receiver != 'prefect' ORDER BY word")


@pytest.fixture
def quick(monkeypatch):
    """Further tries follow at once."""
    monkeypatch.setattr(outbox, "PAUSES", (0.02,) * 4)


def test_a_webhook_is_told_once_in_json(told_by, collector, opened):
    """It hears that an incident was opened, and later that it is over, however often and by whomever it is told."""
    settings = told_by(collector.url + "/hook")
    over = msgspec.structs.replace(opened, closed=1_700_000_600.0, verdict={"first_faulty_layer": "data"})
    for incident in (opened, opened, over):
        alerts.tell(incident, settings)
        assert alerts.wait(20)
    alerts._tellers.clear()  # as in another process
    alerts.tell(over, settings)
    assert alerts.wait(20)
    assert [path for path, _, _ in collector.came] == ["/hook", "/hook"]
    (_, headers, first), (_, _, second) = collector.came
    assert headers["Idempotency-Key"] == "i-1:opened"
    first = json.loads(first)
    assert first["event"] == "firstfault.incident.opened"
    assert first["incident"]["opened"] == "2023-11-14T22:14:20+00:00" and first["incident"]["requests"] == 2
    assert first["text"] == "churn 7: incident i-1 (bad_events): 9 of 40 <failed>"
    second = json.loads(second)
    assert (second["event"], second["incident"]["first_faulty_layer"]) == ("firstfault.incident.closed", "data")


def test_slack_is_told_in_its_own_words(told_by, collector, opened):
    """One text, in which nothing of the incident is markup."""
    alerts.tell(opened, told_by(f"slack+{collector.url}/services/{SECRET}"))
    assert alerts.wait(20)
    ((path, _, body),) = collector.came
    assert path == f"/services/{SECRET}"
    assert json.loads(body) == {
        "text": ":rotating_light: churn 7: incident i-1 (bad_events): 9 of 40 &lt;failed&gt;\n"
        "What it is: `firstfault incident i-1`"
    }


def test_prefect_is_told_where_it_is_known(told_by, collector, opened, monkeypatch):
    """An event with the incident's id, for automations to start what diagnoses it."""
    monkeypatch.setenv("PREFECT_API_URL", f"{collector.url}/api")
    alerts.tell(opened, told_by())
    assert alerts.wait(20)
    ((path, _, body),) = collector.came
    (event,) = json.loads(body)
    assert (path, event["event"]) == ("/api/events", "firstfault.incident.opened")
    assert event["resource"]["prefect.resource.id"] == "firstfault.incident.i-1"
    assert event["resource"]["firstfault.incident"] == "i-1" and event["payload"]["message"] == opened.message


def test_a_receiver_that_hangs_holds_nothing_up(told_by, make_collector, opened):
    """`tell` returns, and the others are told meanwhile."""
    hanging, other = make_collector(), make_collector()
    hanging.hang.clear()
    settings = told_by(hanging.url, other.url)
    began = time.monotonic()
    alerts.tell(opened, settings)
    assert not alerts.wait(0.5)
    assert time.monotonic() - began < 4 and len(other.came) == 1 and len(hanging.came) == 1
    hanging.hang.set()
    assert alerts.wait(20)
    assert states(settings) == [("opened", "told", 1), ("opened", "told", 1)]


def test_what_is_refused_is_tried_again(told_by, collector, opened, quick, until):
    """A receiver that comes back is told, and only then is it done."""
    collector.statuses = [503, 302, 500]
    settings = told_by(collector.url)
    alerts.tell(opened, settings)
    until(lambda: states(settings) == [("opened", "told", 4)])
    assert len(collector.came) == 4


def test_a_receiver_that_takes_nothing_is_given_up(told_by, collector, opened, quick, until, caplog):
    """After five tries; that is counted, and neither log nor disk has anything of its URL but the host."""
    collector.statuses = [500] * 20
    settings = told_by(collector.url.replace("//", f"//user:{SECRET}@") + f"/{SECRET}?key={SECRET}")
    alerts.tell(opened, settings)
    until(lambda: states(settings) == [("opened", "given up", 5)])
    assert len(collector.came) == 5
    until(lambda: Database(settings).rows("SELECT what, n FROM undelivered") == [("alerts", 1)])
    login = collector.came[0][1]["Authorization"].removeprefix("Basic ")
    assert base64.b64decode(login).decode() == f"user:{SECRET}"
    until(lambda: "127.0.0.1 was not told of incident i-1, and is given up: it answered 500" in caplog.text)
    note_settings(settings)
    written = b"".join(path.read_bytes() for path in settings.folder.iterdir())
    assert SECRET not in caplog.text and SECRET.encode() not in written


def test_nobody_listens(told_by, opened, until, caplog, quick):
    """A receiver that is not there is one that takes nothing."""
    settings = told_by(f"http://127.0.0.1:9/{SECRET}")
    alerts.tell(opened, settings)
    until(lambda: states(settings) == [("opened", "given up", 5)])
    assert "it could not be reached (ConnectionRefusedError)" in caplog.text and SECRET not in caplog.text


def test_what_a_killed_process_left_is_told_by_the_next(told_by, collector, opened):
    """A claim ends by itself; as long as it lasts, nobody else tells it."""
    settings = told_by(collector.url)
    Incidents(Database(settings)).keep(opened)
    box, receiver = Outbox(Database(settings)), key_of_receiver(collector.url)
    box.add([Letter(opened.id, "opened", receiver)], 1_000.0)
    assert box.claim(receiver, 1_000.0)
    assert box.claim(receiver, 1_000.0 + outbox.LEASE_SECONDS / 2) is None
    alerts.go_on(settings)
    assert alerts.wait(20)
    assert len(collector.came) == 1 and states(settings) == [("opened", "told", 2)]


def test_what_nobody_noted_is_told_too(told_by, collector, opened):
    """An incident of the last hour that was kept by a process killed before it could tell; older ones are none."""
    settings, now = told_by(collector.url), time.time()
    incidents = Incidents(Database(settings))
    incidents.keep(opened)
    incidents.keep(msgspec.structs.replace(opened, id="i-2", opened=now - 60, closed=now - 1))
    for _ in range(2):
        alerts.go_on(settings)
        assert alerts.wait(20)
    assert [headers["Idempotency-Key"] for _, headers, _ in collector.came] == ["i-2:opened", "i-2:closed"]


def test_a_dead_database_is_asked_again(tmp_path, opened):
    """What goes on by itself says nothing; who tells of an incident hears of it."""
    settings = settings_of(store=tmp_path, database=f"sqlite:///{tmp_path}/no/such/folder.db")
    alerts.go_on(settings)
    with pytest.raises(StoreError):
        alerts.tell(opened, settings)


def test_a_process_that_ends_tells_first(told_by, collector, opened):
    """What is to be told is told, though nothing waits for it."""
    program = """
import msgspec, sys
from firstfault.monitor.exporters.alerts import tell
from firstfault.monitor.incidents import Incident
from firstfault.monitor.settings import note_settings, settings_of
tell(msgspec.json.decode(sys.argv[2], type=Incident), settings_of(store=sys.argv[1], alerts=(sys.argv[3],)))
"""
    store = told_by().store
    arguments = [sys.executable, "-c", program, store, msgspec.json.encode(opened).decode(), collector.url]
    subprocess.run(arguments, check=True, timeout=60)
    assert len(collector.came) == 1


@pytest.mark.parametrize("receiver", ["ftp://host/x", f"{SECRET}", "https://", "http://[::1", "file:///etc/passwd"])
def test_what_is_no_receiver_is_refused(told_by, receiver):
    """The sentence says which ones there are, and nothing of a secret."""
    with pytest.raises(FirstfaultError, match="alerts must be URLs of http, https") as raised:
        told_by(receiver)
    assert SECRET not in str(raised.value)
