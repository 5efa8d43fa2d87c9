"""A pure ASGI middleware: it looks at the messages that pass, and hands each of them on as it is, when it is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from firstfault.logs import trace_context
from firstfault.monitor.capture import Capture, current, traceback_of
from firstfault.monitor.record import KEPT_HEADERS, Captured
from firstfault.monitor.recorder import CLOSING_SECONDS, Recorder, recorder_of
from firstfault.monitor.settings import Settings, settings_of
from firstfault.monitor.timeline import Timeline

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]
UNANSWERED = 500
"""What a server sends for an application that raised before it answered."""
GONE = 499
"""The status of a request whose client was gone before an answer began."""


class MonitoredASGI:
    """Records every HTTP request of an ASGI application.

    Args:
        app: the application. FastAPI's or Starlette's `app.add_middleware(MonitoredASGI, model="churn")` gives it.
        options: `model`, `version`, `store`, `sample` and the other settings of a monitor.

    Raises:
        FirstfaultError: when a setting is unknown or out of its range.
    """

    def __init__(self, app: App, **options: Any) -> None:
        self.app = app
        self.settings = settings_of(**options)
        self.recorder = recorder_of(self.settings)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one connection."""
        kind = scope["type"]
        if kind == "http" and not self.recorder.skips(scope["path"]):
            await _Exchange(self.settings, self.recorder, scope, receive, send).run(self.app)
        elif kind == "lifespan":
            self.recorder.start()
            await self.app(scope, receive, self._last_words(send))
        else:
            await self.app(scope, receive, send)

    def _last_words(self, send: Send) -> Send:
        """What sends on, and lets the writer finish before the server is told that it may end."""

        async def sent(message: Message) -> None:
            if message["type"] == "lifespan.shutdown.complete":
                await asyncio.to_thread(self.recorder.close, CLOSING_SECONDS)
            await send(message)

        return sent


class _Exchange:
    """One request and its answer."""

    __slots__ = (
        "_receive",
        "_send",
        "asked",
        "asked_bytes",
        "capture",
        "gone",
        "headers",
        "limit",
        "recorder",
        "response_type",
        "scope",
        "status",
        "taken",
        "timeline",
    )

    def __init__(
        self, settings: Settings, recorder: Recorder, scope: MutableMapping[str, Any], receive: Receive, send: Send
    ) -> None:
        parent, request_id = None, ""
        self.headers = []
        for pair in scope["headers"]:
            name = pair[0]
            if name in KEPT_HEADERS:
                self.headers.append(pair)
            elif name == b"traceparent":
                parent = pair[1]
            elif name == b"x-request-id":
                request_id = pair[1].decode("latin-1")
        self.capture = Capture(settings, parent, request_id)
        self.recorder, self.scope, self.limit = recorder, scope, settings.body
        self._receive, self._send = receive, send
        self.asked: list[bytes] = []
        self.asked_bytes = self.status = 0
        self.response_type = b""
        self.timeline = Timeline(self.capture.began, settings.body)
        self.gone = self.taken = False

    async def run(self, app: App) -> None:
        """Let the application answer, and record how; what it raises is raised."""
        request = current.set(self.capture)
        trace = trace_context.current.set(self.capture.trace)
        try:
            await app(self.scope, self.receive, self.send)
        except BaseException as error:
            if not self.taken:
                self.hand_over(self._error_of(error))
            raise
        finally:
            current.reset(request)
            trace_context.current.reset(trace)
            if not self.taken:
                self.hand_over("")

    def _error_of(self, error: BaseException) -> str:
        """What was raised, but for the cancelling of a request whose client is gone."""
        if isinstance(error, asyncio.CancelledError):
            self.gone = True
            return ""
        return traceback_of(error)

    async def receive(self) -> Message:
        """Hand a message of the client on."""
        message = await self._receive()
        if message["type"] == "http.request":
            body = message.get("body", b"")
            if body:
                if self.asked_bytes < self.limit:
                    self.asked.append(body)
                self.asked_bytes += len(body)
        elif not self.taken:
            self.gone = True
        return message

    async def send(self, message: Message) -> None:
        """Hand a message of the application on, and look at it when it is gone."""
        await self._send(message)
        kind = message["type"]
        if kind == "http.response.body":
            self.timeline.add(message.get("body", b""))
            if not message.get("more_body", False) and not self.taken and self.status < UNANSWERED:
                self.hand_over("")  # a framework answers 500 first, and raises then
        elif kind == "http.response.start":
            self.status = message["status"]
            for name, value in message.get("headers", ()):
                if name.lower() == b"content-type":
                    self.response_type = value

    def hand_over(self, error: str) -> None:
        """Hand the record over, once: with the last part of the answer, or when there will be none."""
        self.taken = True
        status = self.status or (GONE if self.gone else UNANSWERED)
        captured: Captured = self.capture.handed_over("asgi", status, time.perf_counter() - self.capture.began)
        scope = self.scope
        captured.method, captured.path, captured.query = scope["method"], scope["path"], scope["query_string"]
        captured.headers = self.headers
        captured.request, captured.request_bytes = _joined(self.asked, self.limit), self.asked_bytes
        captured.response, captured.response_bytes = self.timeline.kept(), self.timeline.size
        captured.response_type = self.response_type
        captured.stream = self.timeline.stream()
        captured.error = error or captured.error
        captured.disconnected = self.gone
        self.recorder.take(captured)


def _joined(chunks: list[bytes], limit: int) -> bytes:
    if len(chunks) == 1 and len(chunks[0]) <= limit:
        return chunks[0]
    return b"".join(chunks)[:limit]
