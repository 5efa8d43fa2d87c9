"""`firstfault monitor --metrics --otlp` as a process, and what it refuses."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request

import pytest
from typer.testing import CliRunner

from firstfault.cli.app import app
from firstfault.monitor.database import Database
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


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--metrics", "--receive"), "must be told one thing to do"),
        (("--otlp", "--proxy", "http://127.0.0.1:1"), "must be told one thing to do"),
        (("--otlp",), "OTEL_EXPORTER_OTLP_ENDPOINT must name the receiver"),
        (("--metrics", "--port", "1", "--host", "203.0.113.1"), "must be an address to listen at"),
        (("--metrics", "--alert", "mailto:me"), "alerts must be URLs of"),
    ],
)
def test_a_bad_call_is_told(settings, arguments, said):
    """What was expected and what came."""
    found = CliRunner().invoke(app, ["monitor", *arguments, "--store", settings.store])
    assert found.exit_code != 0 and said in f"{found.stderr} {found.exception}"
