"""One request and its answer, as they pass through a proxy."""

from __future__ import annotations

import time
import urllib.parse

from firstfault.monitor.capture import Capture
from firstfault.monitor.framing import Head
from firstfault.monitor.record import KEPT_HEADERS, Captured
from firstfault.monitor.recorder import Recorder
from firstfault.monitor.timeline import Timeline

UNREACHED, GONE = 502, 499
"""The status of a request whose server could not be reached, and of one whose client was gone before an answer."""


class Exchange:
    """What is seen of them."""

    def __init__(self, recorder: Recorder, head: Head, method: str, target: str) -> None:
        settings = recorder.settings
        parents, names = head.values(b"traceparent"), head.values(b"x-request-id")
        self.capture = Capture(
            settings, parents[0] if len(parents) == 1 else None, names[0].decode("latin-1") if names else ""
        )
        self.recorder, self.method = recorder, method
        path, _, query = target.partition("?")
        self.path, self.query = urllib.parse.unquote(path), query.encode("latin-1")
        self.skipped = recorder.skips(self.path)
        self.headers = [pair for pair in head.headers if pair[0] in KEPT_HEADERS]
        self.asked: list[bytes] = []
        self.asked_bytes = self.status = 0
        self.response_type = b""
        self.timeline = Timeline(self.capture.began, settings.body)
        self.error = ""
        self.gone = False

    def add(self, content: bytes) -> None:
        """Note a part of the request's body."""
        if content:
            if self.asked_bytes < self.recorder.settings.body:
                self.asked.append(content)
            self.asked_bytes += len(content)

    def hand_over(self) -> None:
        """Hand the record over."""
        if self.skipped:
            return
        status = self.status or (GONE if self.gone else UNREACHED)
        captured: Captured = self.capture.handed_over("proxy", status, time.perf_counter() - self.capture.began)
        captured.method, captured.path, captured.query, captured.headers = (
            self.method,
            self.path,
            self.query,
            self.headers,
        )
        captured.request = b"".join(self.asked)[: self.recorder.settings.body]
        captured.request_bytes = self.asked_bytes
        captured.response, captured.response_bytes = self.timeline.kept(), self.timeline.size
        captured.response_type, captured.stream = self.response_type, self.timeline.stream()
        captured.error, captured.disconnected = self.error, self.gone
        self.recorder.take(captured)
