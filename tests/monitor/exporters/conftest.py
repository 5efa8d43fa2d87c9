"""A receiver on loopback that notes what it is told, and answers as a test says."""

import http.server
import threading
import time

import pytest

from firstfault.monitor.exporters import alerts
from firstfault.monitor.incidents import Incident

OPENED = Incident(
    "i-1",
    "churn",
    "bad_events",
    1_700_000_000.0,
    1_700_000_060.0,
    9.2,
    "9 of 40 <failed>",
    version="7",
    requests=("a", "b"),
)


class Collector:
    """What came, and how the next requests are answered."""

    def __init__(self):
        self.came, self.statuses, self.hang = [], [], threading.Event()
        self.hang.set()
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.came.append((self.path, dict(self.headers), body))
                collector.hang.wait(30)
                self.send_response(collector.statuses.pop(0) if collector.statuses else 200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                """Nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def close(self):
        """Answer what hangs, and end."""
        self.hang.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def make_collector():
    """Makes receivers, which end with the test."""
    made = []

    def make():
        made.append(Collector())
        return made[-1]

    yield make
    for collector in made:
        collector.close()


@pytest.fixture
def collector(make_collector):
    """One receiver."""
    return make_collector()


@pytest.fixture
def opened():
    """An incident that is open."""
    return OPENED


@pytest.fixture(autouse=True)
def nobody_known(monkeypatch, tmp_path):
    """No tellers of other tests, no Prefect server, and no receiver of the machine's own."""
    monkeypatch.setattr(alerts, "_tellers", {})
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    for signal in ("", "TRACES_", "METRICS_", "LOGS_"):
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{signal}ENDPOINT", raising=False)


@pytest.fixture
def until():
    """Waits until something holds."""

    def wait(holds, seconds=30.0):
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, "it never came about"
            time.sleep(0.01)

    return wait
