"""What stands before every server that firstfault starts: only its own pages and who knows the login get an answer."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
"""A scope or an event of ASGI."""
Scope = Message
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

NAMES = ("127.0.0.1", "localhost")
OPEN_PATHS = ("/health", "/version")
"""What a probe may ask without the login; it tells nothing of the user's."""
FOREIGN_HOST = "the Host header must name this server's own address, but does not (DNS rebinding?)"
FOREIGN_ORIGIN = "only this server's own pages may ask it, but the request comes from another origin"
NO_LOGIN = "the request must carry the login that firstfault keeps in its state folder"


class AccessGuard:
    """An ASGI app around another: refuses foreign hosts and origins, and whoever doesn't send `login`.

    A page that a browser shows can send requests to loopback, but not without its origin; and a name that is
    rebound to loopback stays in Host. Both hold for every method and for WebSockets. The login is sent as basic
    authentication; where it is left out here, the app behind asks for it.
    """

    def __init__(self, app: App, login: str | None = None) -> None:
        self._app = app
        self._expected = b"Basic " + base64.b64encode(login.encode()) if login is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
        elif refusal := self._refusal(scope):
            await _refuse(scope, send, *refusal)
        else:
            await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        hosts = _own_hosts(int(scope["server"][1]))
        if not _all_in(_values(scope, b"host"), hosts) or not _values(scope, b"host"):
            return 403, FOREIGN_HOST
        if not _all_in(_values(scope, b"origin"), {b"http://" + host for host in hosts}):
            return 403, FOREIGN_ORIGIN
        if self._expected is None or scope["path"] in OPEN_PATHS:
            return None
        sent = _values(scope, b"authorization")
        return None if len(sent) == 1 and hmac.compare_digest(sent[0], self._expected) else (401, NO_LOGIN)


def _own_hosts(port: int) -> set[bytes]:
    return {f"{name}:{port}".encode() for name in NAMES} | ({name.encode() for name in NAMES} if port == 80 else set())


def _values(scope: Scope, name: bytes) -> list[bytes]:
    return [value for key, value in scope["headers"] if key == name]


def _all_in(values: list[bytes], allowed: set[bytes]) -> bool:
    return all(value in allowed for value in values)


async def _refuse(scope: Scope, send: Send, status: int, reason: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": reason})  # before it is accepted: a 403
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    if status == 401:
        headers.append((b"www-authenticate", b'Basic realm="firstfault", charset="UTF-8"'))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": f"{reason}\n".encode()})
