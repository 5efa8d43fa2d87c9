"""The login of firstfault's own servers: made once, kept in the state folder, handed to their clients only."""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
from pathlib import Path
from urllib.parse import urlsplit

from firstfault.errors import FirstfaultError
from firstfault.runs.processes import HOST, running
from firstfault.runs.state import State

USER = "firstfault"


def login_of(state: State) -> str:
    """The login `user:password` of this state's servers, made at the first call.

    Raises:
        FirstfaultError: when the file does not hold one, or can't be read.
    """
    if not state.login.exists():
        _make(state.login)
    try:
        state.login.chmod(0o600)
        login = state.login.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise FirstfaultError(f"{state.login} must be a readable file with the login, but: {error}") from None
    user, _, password = login.partition(":")
    if not user or not password or len(login.split()) != 1:
        raise FirstfaultError(
            f"{state.login} must hold one line, user:password, but does not; delete it, and a new one is made"
        )
    return login


def _make(path: Path) -> None:
    """Write a new login beside its place, and link it there: whoever comes second finds a whole one."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{USER}:{secrets.token_urlsafe(24)}\n")
    with contextlib.suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()


def how_to_log_in(state: State) -> str:
    """What to enter in a browser at the state's servers."""
    return (
        f"with the line in {state.login}: Prefect asks for all of it, "
        "MLflow for the user before and the password after its colon"
    )


def header(login: str) -> str:
    """The value of the header Authorization that carries a login."""
    return "Basic " + base64.b64encode(login.encode()).decode()


def client_environment(state: State, prefect: str | None, mlflow: str | None) -> dict[str, str]:
    """The variables with which Prefect's and MLflow's clients reach these servers of the state, by their URLs."""
    login = login_of(state)
    found: dict[str, str] = {}
    if prefect is not None:
        found |= {"PREFECT_API_URL": f"{prefect}/api", "PREFECT_API_AUTH_STRING": login}
    if mlflow is not None:
        user, _, password = login.partition(":")
        found |= {"MLFLOW_TRACKING_URI": mlflow, "MLFLOW_TRACKING_USERNAME": user, "MLFLOW_TRACKING_PASSWORD": password}
    return found


def log_in(state: State) -> None:
    """Let this process in at the state's own servers, where the environment names them (or no Prefect server at all).

    Another server never gets this login: what the user has set for it stays.
    """
    prefect = running(state).get("prefect")
    if prefect is not None and is_own(state, os.environ.get("PREFECT_API_URL", str(prefect.url))):
        os.environ["PREFECT_API_AUTH_STRING"] = login_of(state)
    if (uri := os.environ.get("MLFLOW_TRACKING_URI")) and is_own(state, uri):
        os.environ.update(client_environment(state, None, uri))


def is_own(state: State, url: str) -> bool:
    """Whether a URL leads to a server that firstfault has started for the state."""
    return _place(url) in {_place(service.url) for service in running(state).values() if service.url}


def _place(url: str) -> tuple[str | None, int | None]:
    try:
        parts = urlsplit(url)
        return HOST if parts.hostname == "localhost" else parts.hostname, parts.port
    except ValueError:
        return None, None
