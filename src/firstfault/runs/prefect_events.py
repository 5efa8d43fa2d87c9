"""Events for Prefect's automations, posted to its API: a training need not import Prefect, which takes seconds."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import uuid4

from firstfault.errors import FirstfaultError, PrerequisiteError
from firstfault.output.escaping import visible_in
from firstfault.output.file_names import key_of
from firstfault.runs.login import header, login_of
from firstfault.runs.processes import running
from firstfault.runs.state import state_here
from firstfault.values import Json

SECONDS = 10.0
"""How long the API may take for an event."""


def emit(event: str, name: str, payload: Json) -> None:
    """Post an event about the training `name`, as `post` does.

    Raises:
        PrerequisiteError: when no server is known.
        FirstfaultError: when it does not take the event.
    """
    resource = {
        "prefect.resource.id": f"firstfault.target.declaration.{key_of(name)}",
        "firstfault.layer": str(payload.get("layer", "training")),
    }
    post(event, resource, payload)


def post(event: str, resource: Mapping[str, str], payload: Json) -> None:
    """Post an event about a resource to the API of `PREFECT_API_URL`, else to that of `firstfault up`.

    `PREFECT_API_AUTH_STRING` or `PREFECT_API_KEY` lets in at a server of the user's own.

    Raises:
        PrerequisiteError: when no server is known.
        FirstfaultError: when it does not take the event.
    """
    api, authorization = _server()
    happened = {
        "id": str(uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": event,
        "resource": visible_in(dict(resource)),
        "payload": visible_in(payload),
    }
    headers = {"Content-Type": "application/json", **({"Authorization": authorization} if authorization else {})}
    body = json.dumps([happened]).encode()
    request = urllib.request.Request(f"{api.rstrip('/')}/events", data=body, headers=headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=SECONDS):
            pass
    except (urllib.error.URLError, OSError) as error:
        raise FirstfaultError(f"Prefect must take the event {event} at {api}, but: {error}") from error


def _server() -> tuple[str, str | None]:
    """The API to tell, and the header that lets in there."""
    state = state_here()
    known = running(state).get("prefect")
    own = f"{known.url}/api" if known else None
    named = os.environ.get("PREFECT_API_URL")
    if named is not None and named.rstrip("/") != own:
        string, key = os.environ.get("PREFECT_API_AUTH_STRING"), os.environ.get("PREFECT_API_KEY")
        return named, header(string) if string else f"Bearer {key}" if key else None
    if own is None:
        raise PrerequisiteError(
            "a Prefect server must be known to emit events, but there is none; "
            "set PREFECT_API_URL, or run `firstfault up`"
        )
    return own, header(login_of(state))
