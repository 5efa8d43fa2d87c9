"""`/metrics` and `/health` of one store, served by a process that serves nothing else."""

from __future__ import annotations

import contextlib
import http.server
import logging
import threading
import time
from collections.abc import Iterator

from firstfault.monitor.database import Database, StoreError
from firstfault.monitor.exporters.families import Family
from firstfault.monitor.exporters.figures import dead_families, families
from firstfault.monitor.exporters.prometheus import expect_prometheus, exposition
from firstfault.monitor.settings import Settings

logger = logging.getLogger(__name__)
FRESH_SECONDS = 1.0
"""For so long, all who ask get the same figures: many askers are no burden to the database."""
CLIENT_SECONDS = 10.0
"""A client that sends nothing for so long is let go."""
POLL_SECONDS = 0.1
PLAIN = "text/plain; charset=utf-8"


class Figures:
    """The latest figures of a store, read anew when they are asked for."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._read_at = -FRESH_SECONDS
        self._latest: list[Family] = []
        self._alive = False

    def now(self) -> tuple[bool, list[Family]]:
        """Whether the database answers, and the figures."""
        with self._lock:
            if time.monotonic() - self._read_at >= FRESH_SECONDS:
                self._alive, self._latest = self._read()
                self._read_at = time.monotonic()
            return self._alive, self._latest

    def _read(self) -> tuple[bool, list[Family]]:
        database = Database(self._settings)  # a connection of SQLite is for one thread, and each asker has its own
        try:
            return True, families(database)
        except StoreError as error:
            logger.warning("the database does not answer: %s", error)
            return False, dead_families()
        finally:
            database.close()


class Server(http.server.ThreadingHTTPServer):
    """The server of one store's figures."""

    daemon_threads = True

    def __init__(self, figures: Figures, host: str, port: int) -> None:
        self.figures = figures
        super().__init__((host, port), _Handler)

    def handle_error(self, *_: object) -> None:
        """Nothing: a client that hangs up is no error of ours."""


class _Handler(http.server.BaseHTTPRequestHandler):
    timeout = CLIENT_SECONDS
    server_version = "firstfault"
    sys_version = ""
    server: Server

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path not in ("/metrics", "/health"):
            self._answer(404, PLAIN, b"there are /metrics and /health\n")
            return
        try:
            alive, found = self.server.figures.now()
        except Exception:
            logger.exception("the figures of the store could not be read")
            self._answer(500, PLAIN, b"the figures could not be read; the log says why\n")
            return
        if path == "/health":
            self._answer(200 if alive else 503, PLAIN, b"ok\n" if alive else b"the database does not answer\n")
            return
        kind, page = exposition(found, self.headers.get("Accept", ""))
        self._answer(200, kind, page)

    do_HEAD = do_GET

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: who asks every few seconds would fill the log."""


@contextlib.contextmanager
def metrics_served(settings: Settings, host: str, port: int) -> Iterator[int]:
    """Serve the figures of a store within the block; gives the port.

    Raises:
        FirstfaultError: when Prometheus' library is not installed, or the database's URL is none.
        OSError: when the port can't be had.
    """
    expect_prometheus()
    figures = Figures(settings)
    figures.now()  # a URL that leads to no database is told before anybody asks
    server = Server(figures, host, port)
    thread = threading.Thread(target=server.serve_forever, args=(POLL_SECONDS,), name="firstfault-metrics", daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
