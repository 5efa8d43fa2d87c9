"""Prefect's server behind firstfault's guard, as a factory that uvicorn calls."""

from __future__ import annotations

import os
from pathlib import Path

from firstfault.runs.access import AccessGuard
from firstfault.runs.login import login_of
from firstfault.runs.state import State


def prefect_server() -> AccessGuard:
    """The server, API and UI of the state folder that `FIRSTFAULT_HOME` names, as `prefect server start` starts them.

    Prefect asks for the login itself: on every request but those for its pages, on every WebSocket, and in the form of
    its UI.
    """
    own = os.environ["PREFECT_SERVER_UI_API_URL"].removesuffix("/api")
    os.environ["PREFECT_SERVER_API_AUTH_STRING"] = login_of(State(Path(os.environ["FIRSTFAULT_HOME"])))
    os.environ["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] = f"{own},{own.replace('127.0.0.1', 'localhost')}"
    from prefect.server.api.server import create_app  # reads these at import

    return AccessGuard(create_app(final=True))
