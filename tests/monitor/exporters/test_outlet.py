"""`firstfault monitor --metrics --otlp` as a process, and what it refuses."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request

import msgspec
import pytest
from typer.testing import CliRunner

from firstfault.cli.app import app
from firstfault.monitor.database import Database
from firstfault.monitor.exporters import alerts
from firstfault.monitor.exporters.outbox import Letter, Outbox
from firstfault.monitor.exporters.receivers import key_of_receiver
from firstfault.monitor.incidents import Incidents


def test_one_process_tells_all(settings, recorder, captured, collector, opened, until):
    """It serves /metrics, sends over OTLP, tells alerts that others left, and ends when it is asked to."""
    recorder.take(captured("a"))
    recorder.written()
    hook = f"{collector.url}/hook"
    Incidents(Database(settings)).keep(opened)
    Outbox(Database(settings)).add([Letter(opened.id, "opened", key_of_receiver(hook))], time.time())
    command = [sys.executable, "-m", "firstfault.cli.app", "monitor", "--metrics", "--otlp", "--port", "0"]
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "FIRSTFAULT_MONITOR_ALERTS": hook}
    process = subprocess.Popen(
        [*command, "--store", settings.store], stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
    try:
        address = re.search(r"http://\S+/metrics", process.stdout.readline())[0]
        with urllib.request.urlopen(address, timeout=20) as page:
            assert b'firstfault_requests_total{arm="champion"' in page.read()
        until(lambda: {path for path, _, _ in collector.came} >= {"/hook", "/v1/traces", "/v1/metrics"})
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.stdout.close()


def test_what_detection_finds_is_told(settings, recorder, captured, collector):
    """An incident that `firstfault monitor detect` opens is told once, however often it looks."""
    begins = time.time() - 800
    for number in range(800):
        status = 500 if number >= 500 and number % 2 else 200
        recorder.take(msgspec.structs.replace(captured(f"r{number}", status), time=begins + number))
    recorder.written()
    command = ["monitor", "detect", "--reference", "300", "--alert", collector.url, "--store", settings.store]
    found = CliRunner().invoke(app, command)
    assert found.exit_code == 1 and "opened" in found.stdout
    assert CliRunner().invoke(app, command).exit_code == 1
    assert alerts.wait(20)
    told = [json.loads(body) for _, _, body in collector.came]
    assert len(told) == found.stdout.count("opened ") and told[0]["event"] == "firstfault.incident.opened"
    assert told[0]["incident"]["id"] in found.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--metrics", "--receive"), "must be told one thing to do"),
        (("--otlp", "--proxy", "http://127.0.0.1:1"), "must be told one thing to do"),
        (("--otlp",), "OTEL_EXPORTER_OTLP_ENDPOINT must name the receiver"),
        (("--metrics", "--port", "1", "--host", "203.0.113.1"), "must be an address to listen at"),
        (("--metrics", "--alert", "mailto:me"), "alerts must be URLs of"),
        (("--metrics", "--database", "nonsense"), "database must be the URL of one that SQLAlchemy knows"),
    ],
)
def test_a_bad_call_is_told(settings, arguments, said):
    """What was expected and what came."""
    found = CliRunner().invoke(app, ["monitor", *arguments, "--store", settings.store])
    assert found.exit_code != 0 and said in f"{found.stderr} {found.exception}"
