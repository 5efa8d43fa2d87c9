"""A pure ASGI middleware: it looks at the messages that pass, and hands each of them on as it is, when it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from firstfault.monitor.capture import traceback_of
from firstfault.monitor.exchange import Asked, Exchange
from firstfault.monitor.record import KEPT_HEADERS
from firstfault.monitor.recorder import CLOSING_SECONDS, Recorder, recorder_of
from firstfault.monitor.settings import settings_of

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


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
        self.recorder = recorder_of(settings_of(**options))

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one connection."""
        kind = scope["type"]
        if kind == "http" and not self.recorder.skips(scope["path"]):
            await _Served(self.recorder, scope, receive, send).run(self.app)
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


class _Served(Exchange):
    """One request and its answer, as messages of ASGI."""

    __slots__ = ("_receive", "_send", "headers", "scope")
    way = "asgi"

    def __init__(self, recorder: Recorder, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
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
        Exchange.__init__(self, recorder, parent, request_id)
        self.scope, self._receive, self._send = scope, receive, send

    async def run(self, app: App) -> None:
        """Let the application answer, and record how; what it raises is raised."""
        with self.capture:
            try:
                await app(self.scope, self.receive, self.send)
            except BaseException as error:
                self.hand_over(self._error_of(error))
                raise
        self.hand_over()

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
            self.body.add(message.get("body", b""))
        else:
            self.gone = True
        return message

    async def send(self, message: Message) -> None:
        """Hand a message of the application on, and look at it when it is gone."""
        await self._send(message)
        kind = message["type"]
        if kind == "http.response.body":
            self.answer.add(message.get("body", b""))
            if not message.get("more_body", False) and self.status < self.unanswered:
                self.hand_over()  # a framework answers 500 first, and raises then
        elif kind == "http.response.start":
            self.status = message["status"]
            for name, value in message.get("headers", ()):
                if name.lower() == b"content-type":
                    self.response_type = value

    def asked(self) -> Asked:
        """As the connection's scope says."""
        scope = self.scope
        return scope["method"], scope["path"], scope["query_string"], self.headers
