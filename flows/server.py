"""Prefect's server behind firstfault's guard, as a factory that uvicorn calls."""

from __future__ import annotations

import os
from pathlib import Path

from firstfault.runs.access import AccessGuard
from firstfault.runs.login import login_of
from firstfault.runs.scripted_pages import ScriptedPages
from firstfault.runs.state import State

AT_THE_FORM = """
if (location.pathname !== '/login' && !localStorage.getItem('prefect-password'))
  location.replace('/login?redirect=' + encodeURIComponent(location.pathname + location.search));
let atTheForm = -Infinity;
new MutationObserver(() => {
  if (location.pathname === '/login') atTheForm = performance.now();
  if (performance.now() - atTheForm > 15_000) return;
  for (const toast of document.querySelectorAll('.p-toast-container__toast'))
    if (toast.textContent.includes('Something went wrong')) toast.querySelector('.p-toast__close-btn')?.click();
}).observe(document, {childList: true, subtree: true});
"""
"""Leads a browser without the login to Prefect's form, and from there to the page: Prefect itself answers a link to a
run with "404". At the form Prefect takes the login that is not there yet for an error, and says so for good: that word
is closed, and for 15 s more, since what was asked at the form may be answered behind it.
"""


def prefect_server() -> AccessGuard:
    """The server, API and UI of the state folder that `FIRSTFAULT_HOME` names, as `prefect server start` starts them.

    Prefect asks for the login itself: on every request but those for its pages, on every WebSocket, and in the form of
    its UI.
    """
    own = os.environ["PREFECT_SERVER_UI_API_URL"].removesuffix("/api")
    os.environ["PREFECT_SERVER_API_AUTH_STRING"] = login_of(State(Path(os.environ["FIRSTFAULT_HOME"])))
    os.environ["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] = f"{own},{own.replace('127.0.0.1', 'localhost')}"
    os.environ["PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT"] = "false"
    from prefect.server.api.server import create_app  # reads these at import

    return AccessGuard(ScriptedPages(create_app(final=True), AT_THE_FORM, _of_ui))


def _of_ui(path: str) -> bool:
    return not path.startswith(("/api", "/assets"))
