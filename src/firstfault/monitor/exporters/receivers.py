"""Who is told of an incident, and in which words: a webhook's JSON, Slack's, and Prefect's event."""

from __future__ import annotations

import hashlib
import http.client
import json
import urllib.error
import urllib.request
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from firstfault.errors import FirstfaultError, PrerequisiteError
from firstfault.monitor.exporters.incident_figures import CLOSED, OPENED
from firstfault.monitor.incidents import Incident
from firstfault.output.escaping import visible, visible_in
from firstfault.runs.login import header
from firstfault.runs.prefect_events import post
from firstfault.values import Json

PREFECT = "prefect"
"""The server of `PREFECT_API_URL` or of `firstfault up`, which is told wherever one is known."""
SLACK = "slack+"
SLACK_HOST = "hooks.slack.com"
ANSWER_SECONDS = 5.0


class Refused(Exception):
    """A receiver did not take what it was told; the sentence has no secret of its URL in it."""


def word_of(incident: Incident) -> str:
    """What there is to tell of an incident."""
    return OPENED if incident.closed is None else CLOSED


def key_of_receiver(receiver: str) -> str:
    """What stands for a receiver where its URL must not: in the database, and in log lines beside its host."""
    return PREFECT if receiver == PREFECT else hashlib.sha256(receiver.encode()).hexdigest()[:16]


def shown(receiver: str) -> str:
    """A receiver as log lines have it: its host alone, since path, login and query may be secrets."""
    return PREFECT if receiver == PREFECT else str(urlsplit(receiver).hostname)


def send(receiver: str, incident: Incident, word: str) -> None:
    """Tell a receiver of an incident.

    Raises:
        Refused: when it does not take it.
    """
    if receiver == PREFECT:
        _tell_prefect(incident, word)
    elif receiver.startswith(SLACK) or urlsplit(receiver).hostname == SLACK_HOST:
        _post(receiver.removeprefix(SLACK), {"text": slack_text(incident, word)}, incident.id, word)
    else:
        _post(receiver, body(incident, word), incident.id, word)


def body(incident: Incident, word: str) -> Json:
    """What a webhook is told."""
    return {"event": f"firstfault.incident.{word}", "text": sentence(incident, word), "incident": summary(incident)}


def summary(incident: Incident) -> Json:
    """An incident without its requests, which are many."""
    verdict = incident.verdict if isinstance(incident.verdict, dict) else {}
    found = {
        "id": incident.id,
        "model": incident.model,
        "version": incident.version,
        "monitor": incident.monitor,
        "message": incident.message,
        "began": _moment(incident.began),
        "opened": _moment(incident.opened),
        "closed": None if incident.closed is None else _moment(incident.closed),
        "requests": len(incident.requests),
        "status": verdict.get("status"),
        "first_faulty_layer": verdict.get("first_faulty_layer"),
        "faults": [fault.get("fault") for fault in verdict.get("faults", ())],
    }
    return dict(visible_in(found))


def sentence(incident: Incident, word: str) -> str:
    """An incident in a line, as a person reads it on a phone."""
    model = f"{incident.model} {incident.version}".strip()
    if word == CLOSED:
        return visible(f"{model}: incident {incident.id} is over ({incident.monitor}): {incident.message}")
    return visible(f"{model}: incident {incident.id} ({incident.monitor}): {incident.message}")


def slack_text(incident: Incident, word: str) -> str:
    """The sentence in Slack's markup, of which nothing comes from the incident."""
    sign = ":white_check_mark:" if word == CLOSED else ":rotating_light:"
    text = sentence(incident, word).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    hint = "" if word == CLOSED else f"\nWhat it is: `firstfault incident {incident.id}`"
    return f"{sign} {text}{hint}"


def _moment(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="seconds")


def _tell_prefect(incident: Incident, word: str) -> None:
    resource = {
        "prefect.resource.id": f"firstfault.incident.{incident.id}",
        "prefect.resource.name": f"{incident.model}: {incident.monitor}",
        "firstfault.incident": incident.id,
        "firstfault.model": incident.model,
    }
    try:
        post(f"firstfault.incident.{word}", resource, summary(incident))
    except PrerequisiteError:
        return  # nobody is there to be told
    except (FirstfaultError, http.client.HTTPException, ValueError) as error:
        raise Refused(f"no event was taken ({type(error.__cause__ or error).__name__})") from error


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would be followed by a GET, and what was to be told is lost."""

    def redirect_request(self, *_: Any) -> None:
        """Follow none."""


_opener = urllib.request.build_opener(_NoRedirect)


def _post(url: str, value: Json, id_: str, word: str) -> None:
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "firstfault",
        "Idempotency-Key": f"{id_}:{word}",  # a sender that was killed at the wrong moment says it again
    }
    plain, login = _without_login(url)
    try:
        request = urllib.request.Request(plain, json.dumps(value).encode(), {**headers, **login}, method="POST")
        with _opener.open(request, timeout=ANSWER_SECONDS):
            pass
    except urllib.error.HTTPError as error:
        error.close()
        raise Refused(f"it answered {error.code}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Refused(f"it could not be reached ({type(getattr(error, 'reason', error)).__name__})") from None


def _without_login(url: str) -> tuple[str, dict[str, str]]:
    """A URL without the login in it, and the header that carries it: urllib takes it for a part of the host."""
    place = urlsplit(url)
    login, at, host = place.netloc.rpartition("@")
    if not at:
        return url, {}
    return place._replace(netloc=host).geturl(), {"Authorization": header(unquote(login))}
