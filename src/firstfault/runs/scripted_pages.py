"""A served UI whose pages run a script of firstfault's before their own."""

from __future__ import annotations

from collections.abc import Callable

from firstfault.runs.access import App, Message, Receive, Scope, Send


class ScriptedPages:
    """An ASGI app around another: puts a script at the head of the pages of its UI, whose paths `of_ui` tells."""

    def __init__(self, app: App, script: str, of_ui: Callable[[str], bool]) -> None:
        self._app, self._head, self._of_ui = app, f"<head><script>{script}</script>".encode(), of_ui

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http" and scope["method"] == "GET" and self._of_ui(scope["path"]):
            readable = [(name, value) for name, value in scope["headers"] if name.lower() != b"accept-encoding"]
            scope, send = {**scope, "headers": readable}, _Page(send, self._head)
        await self._app(scope, receive, send)


class _Page:
    """Sends a page on once it is whole, with another head; what is no page is sent as it comes."""

    def __init__(self, send: Send, head: bytes) -> None:
        self._send, self._head, self._body = send, head, b""
        self._start: Message = {}

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_page(message):
            self._start = message
            return
        if not self._start:
            await self._send(message)
            return
        self._body += message.get("body", b"")
        if message.get("more_body", False):
            return
        body = self._body.replace(b"<head>", self._head, 1)
        kept = [(name, value) for name, value in self._start["headers"] if name.lower() != b"content-length"]
        length = [(b"content-length", str(len(body)).encode())] if body else []
        await self._send({**self._start, "headers": [*kept, *length]})
        await self._send({"type": "http.response.body", "body": body})


def _is_page(start: Message) -> bool:
    kinds = [value for name, value in start["headers"] if name.lower() == b"content-type"]
    return bool(kinds) and kinds[0].startswith(b"text/html")
