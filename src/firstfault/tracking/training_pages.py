"""MLflow's UI as firstfault serves it: its pages open as those of model training, unless the user chose otherwise."""

from __future__ import annotations

import json

from firstfault.runs.access import App, Message, Receive, Scope, Send

CHOICES = {"mlflow.workflowType_v1": '"machine_learning"', "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": "true"}
"""What the UI of MLflow 3 keeps in the browser: which of its two faces it shows, and that its chat stays closed."""
SCRIPT = (
    f"<script>for (const [key, value] of Object.entries({json.dumps(CHOICES)}))"
    " if (localStorage.getItem(key) === null) localStorage.setItem(key, value)</script>"
)
PAGES = ("/", "/index.html")


class TrainingPages:
    """An ASGI app around MLflow's: makes the choices of a new browser in the page that loads the UI."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http" and scope["path"] in PAGES and scope["method"] == "GET":
            await self._app(scope, receive, _Page(send))
        else:
            await self._app(scope, receive, send)


class _Page:
    """Sends a page on with the script in its head, once it is whole."""

    def __init__(self, send: Send) -> None:
        self._send, self._body = send, b""
        self._start: Message = {}

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._body += message.get("body", b"")
        if message.get("more_body", False):
            return
        body = self._body.replace(b"<head>", b"<head>" + SCRIPT.encode(), 1)
        kept = [(name, value) for name, value in self._start["headers"] if name.lower() != b"content-length"]
        length = [(b"content-length", str(len(body)).encode())] if body else []
        await self._send({**self._start, "headers": [*kept, *length]})
        await self._send({"type": "http.response.body", "body": body})
