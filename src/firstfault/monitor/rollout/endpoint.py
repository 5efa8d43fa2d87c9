"""What Argo Rollouts, Flagger and Prometheus ask of a rollout: `/metric`, `/promote`, `/rollback`, `/metrics`.

GET  /metric     the standing as JSON: `conclusion`, `value` (1, 0, -1), `passed`, `failed`, `decided` …
any  /promote    200 when the challenger is better or no worse, else 403
any  /rollback   200 when it is worse, else 403
GET  /metrics    the same as Prometheus reads it

An analysis that hangs is none: when it has not looked for too long, everything is answered with 503.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec

from firstfault.monitor.rollout.comparison import Conclusion
from firstfault.monitor.rollout.standing import Standing, nothing_yet

STALE_SECONDS = 120.0
"""Without a look for so long, an analysis hangs: one over a million requests takes some ten seconds."""
SOCKET_SECONDS = 10.0
"""How long a controller may take to ask: as long as Argo's waits for an answer by default."""
JSON, TEXT = "application/json", "text/plain; charset=utf-8"
Answer = tuple[int, str, str]
"""Status, media type, body."""


class Endpoint:
    """The last standing, as others ask for it."""

    def __init__(self) -> None:
        self.standing: Standing = msgspec.structs.replace(nothing_yet("nothing is known yet"), time=time.time())
        self.port = 0

    def answer(self, path: str, now: float) -> Answer:
        """The answer to a request for a path."""
        standing, metric = self.standing, self.standing.metric(now)
        if not standing.ended and now - standing.time > STALE_SECONDS:
            return 503, JSON, _json({**metric, "why": "the analysis has not looked for too long", **_NO_PASS})
        if path == "/metric":
            return 200, JSON, _json(metric)
        if path == "/promote":
            return 200 if standing.passed else 403, TEXT, f"{standing}\n"
        if path == "/rollback":
            return 200 if standing.conclusion is Conclusion.WORSE else 403, TEXT, f"{standing}\n"
        if path == "/metrics":
            return 200, TEXT, exposition(standing)
        return 404, TEXT, "ask for /metric, /promote, /rollback or /metrics\n"

    @staticmethod
    @contextlib.contextmanager
    def of(host: str, port: int) -> Iterator[Endpoint | None]:
        """An endpoint that listens, in a thread; None without a host.

        Raises:
            OSError: when the port can't be had.
        """
        if not host:
            yield None
            return
        endpoint = Endpoint()
        server = _Server((host, port), _Handler, endpoint)
        endpoint.port = server.server_port
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield endpoint
        finally:
            server.shutdown()
            server.server_close()


_NO_PASS = {"conclusion": "undecided", "value": 0, "passed": False, "failed": False, "decided": False}


def _json(values: dict[str, Any]) -> str:
    return json.dumps(values) + "\n"


def exposition(standing: Standing) -> str:
    """The standing as Prometheus reads it."""
    metric = standing.metric(standing.time)
    lines = [
        "# HELP firstfault_rollout_value 1 better or no worse, 0 undecided, -1 worse",
        "# TYPE firstfault_rollout_value gauge",
        f"firstfault_rollout_value {metric['value']}",
        "# HELP firstfault_rollout_conclusion 1 for what is concluded",
        "# TYPE firstfault_rollout_conclusion gauge",
        *(
            f'firstfault_rollout_conclusion{{conclusion="{each}"}} {int(standing.conclusion is each)}'
            for each in Conclusion
        ),
        "# HELP firstfault_rollout_requests Requests that can be compared",
        "# TYPE firstfault_rollout_requests gauge",
        *(f'firstfault_rollout_requests{{arm="{arm}"}} {metric[arm]}' for arm in ("champion", "challenger")),
        "# HELP firstfault_rollout_disagreed Shadow answers that are others than the champion's",
        "# TYPE firstfault_rollout_disagreed gauge",
        f"firstfault_rollout_disagreed {standing.disagreed}",
        "# HELP firstfault_rollout_looked_timestamp_seconds When it was looked at last",
        "# TYPE firstfault_rollout_looked_timestamp_seconds gauge",
        f"firstfault_rollout_looked_timestamp_seconds {standing.time:.3f}",
    ]
    return "\n".join(lines) + "\n"


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler], endpoint: Endpoint) -> None:
        super().__init__(address, handler)
        self.endpoint = endpoint


class _Handler(BaseHTTPRequestHandler):
    timeout = SOCKET_SECONDS
    server: _Server

    def do_GET(self) -> None:
        """Answer; a body that comes along says nothing."""
        status, kind, body = self.server.endpoint.answer(self.path.partition("?")[0], time.time())
        data = body.encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_POST = do_HEAD = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: probes ask every few seconds."""
