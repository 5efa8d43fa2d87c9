"""One request and its answer, as they pass through a proxy."""

from __future__ import annotations

import re
import urllib.parse

from firstfault.monitor.exchange import Asked, Exchange
from firstfault.monitor.framing import Head
from firstfault.monitor.record import KEPT_HEADERS
from firstfault.monitor.recorder import Recorder

_TRACE = re.compile(rb"(?im)^traceparent:.*\n(?:[ \t].*\n)*")


class ProxyExchange(Exchange):
    """What is seen of them."""

    __slots__ = ("headers", "method", "path", "query")
    way = "proxy"
    unanswered = 502

    def __init__(self, recorder: Recorder, head: Head, method: str, target: str) -> None:
        parents = head.values(b"traceparent")
        Exchange.__init__(
            self, recorder, parents[0] if len(parents) == 1 else None, head.first(b"x-request-id").decode("latin-1")
        )
        path, _, query = _path_of(target).partition("?")
        self.method, self.path, self.query = method, urllib.parse.unquote(path), query.encode("latin-1")
        self.headers = [(name, value) for name in KEPT_HEADERS & head.headers.keys() for value in head.values(name)]
        self.taken = recorder.skips(self.path)  # there is no more to do for what is not recorded

    def asked(self) -> Asked:
        """As its head said."""
        return self.method, self.path, self.query, self.headers


def _path_of(target: str) -> str:
    """The path and the query of a request's target, which has the server's name before them where a proxy is asked."""
    if target[:1] == "/" or "://" not in target:
        return target
    return "/" + target.partition("://")[2].partition("/")[2]


def with_trace(head: Head, trace: bytes) -> bytes:
    """The bytes of a request's head with this `traceparent` alone; all else as it is."""
    raw = head.raw
    if b"traceparent" in head.headers:
        raw = _TRACE.sub(b"", raw)
    end = b"\r\n" if raw.endswith(b"\r\n") else b"\n"
    return b"%btraceparent: %b%b%b" % (raw[: -len(end)], trace, end, end)
