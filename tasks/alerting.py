"""Prefect events of findings in a training that still runs, for automations."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from prefect.events import emit_event
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from firstfault.errors import PrerequisiteError
from firstfault.escaping import visible_in
from firstfault.file_names import key_of


def emit(event: str, name: str, payload: dict[str, Any], url: str | None = None, login: str | None = None) -> None:
    """Emit an event about the training `name`, to Prefect's own server or, with `login`, to the API at `url`.

    Raises:
        PrerequisiteError: when no server is known; Prefect would start one in the middle of a training.
    """
    if not url and not PREFECT_API_URL.value():
        raise PrerequisiteError("a Prefect server must be known to emit events, but there is none; set PREFECT_API_URL, or run `firstfault up`")
    with temporary_settings({PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: login}) if url else nullcontext():
        emit_event(
            event=event, resource={"prefect.resource.id": f"firstfault.target.{key_of(name)}", "firstfault.layer": str(payload.get("layer", "training"))},
            payload=visible_in(payload),
        )
