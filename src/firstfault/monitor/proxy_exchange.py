"""One request and its answer, as they pass through a proxy."""

from __future__ import annotations

import urllib.parse

from firstfault.monitor.exchange import Asked, Exchange
from firstfault.monitor.framing import Head
from firstfault.monitor.record import KEPT_HEADERS
from firstfault.monitor.recorder import Recorder


class ProxyExchange(Exchange):
    """What is seen of them."""

    __slots__ = ("headers", "method", "path", "query")
    way = "proxy"
    unanswered = 502

    def __init__(self, recorder: Recorder, head: Head, method: str, target: str) -> None:
        parents = head.values(b"traceparent")
        super().__init__(
            recorder, parents[0] if len(parents) == 1 else None, head.first(b"x-request-id").decode("latin-1")
        )
        path, _, query = target.partition("?")
        self.method, self.path, self.query = method, urllib.parse.unquote(path), query.encode("latin-1")
        self.headers = [(name, value) for name in head.headers if name in KEPT_HEADERS for value in head.values(name)]
        self.taken = recorder.skips(self.path)  # there is no more to do for what is not recorded

    def asked(self) -> Asked:
        """As its head said."""
        return self.method, self.path, self.query, self.headers


def with_trace(head: Head, trace: bytes) -> bytes:
    """The bytes of a request's head with this `traceparent` alone; all else as it is."""
    lines = head.raw[:-2]
    if b"traceparent" in head.headers:
        kept = [line for line in lines.split(b"\r\n") if line[:12].lower() != b"traceparent:"]
        lines = b"\r\n".join(kept)
    return b"%btraceparent: %b\r\n\r\n" % (lines, trace)
