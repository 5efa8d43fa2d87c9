"""An incident becomes a case: some of its requests, what would have been right at each cut, and its verdict.

A case whose requests show nothing is kept all the same: the next incident of its kind is told of it.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from firstfault.ablation.replay.undo import SECONDS
from firstfault.behaviour.cases import Asked, Case, Request, keep
from firstfault.errors import FirstfaultError, Missing
from firstfault.monitor.case_requests import requests_for
from firstfault.monitor.diagnosing import subject_of
from firstfault.monitor.found import Found, find
from firstfault.monitor.incidents import Incident
from firstfault.monitor.store import Store
from firstfault.place import Place
from firstfault.runs.state import state_here
from firstfault.subject.fit import expect_fit
from firstfault.subject.opening import subject_with_model
from firstfault.subject.subject import Subject
from firstfault.target.loader import is_path, split_spec
from firstfault.target.locate import locate

logger = logging.getLogger(__name__)
LEAST: dict[Asked, float] = {Asked.ANSWERS: 0.95, Asked.REFUSALS: 0.95, Asked.NOTHING: 0.0}
"""The share of right answers that a case asks for: requests at the edge of two classes may go either way."""
LABELS_ALONE = frozenset({"concept_drift", "label_drift", "model_decay", "feedback_loop"})
IN_REFUSALS = frozenset({"harmful_output", "over_refusal"})
NOT_IN_REQUESTS = frozenset({"telemetry_loss", "sample_ratio_mismatch", "duplicate_rows", *SECONDS})


def keep_incident(store: Store, id_: str, target: str, folder: Path) -> tuple[Path, Case]:
    """Write the case of an incident into a folder of cases; where it lies, and what it is.

    Args:
        store: where the incident is known, and its requests lie.
        id_: the incident.
        target: the target that is served, the offline truth: `file.py` or `file.py:name`; "" where there is none.
        folder: of the cases.

    Raises:
        FirstfaultError: when there is no such incident, none of its requests is left, or the target can't be loaded.
        StoreError: when the database doesn't answer.
    """
    found = find(store, id_)
    with tempfile.TemporaryDirectory(prefix="firstfault-") as work:
        subject = None
        if target:
            base = subject_with_model(target, {}, Path(work), state_here().runs)
            subject = subject_of(found.evidence, base, Path(work) / "incident")
            expect_fit(subject)
        case, requests = case_of(found, subject)
        case = msgspec.structs.replace(case, target=_seen_from(folder, target), kept=f"{datetime.now(UTC):%FT%TZ}")
        return keep(case, requests, folder), case


def keep_closed(store: Store, closed: Iterable[Incident], target: str, folder: Path) -> list[Case]:
    """The cases of incidents that have closed; one that can't be kept is told, and stops none of the others."""
    kept = []
    for incident in closed:
        try:
            kept.append(keep_incident(store, incident.id, target, folder)[1])
        except (FirstfaultError, Missing) as error:
            logger.warning("the incident %s became no case: %s", incident.id, error)
    return kept


def _seen_from(folder: Path, target: str) -> str:
    """Where a target is declared, as the folder of the cases sees it, so that both can be moved together."""
    place, name = split_spec(locate(target)) if target else ("", "")
    return f"{os.path.relpath(place, folder.absolute())}:{name}" if is_path(place) else target


def case_of(found: Found, subject: Subject | None) -> tuple[Case, list[Request]]:
    """The case of an incident, and its requests; without a subject, or a verdict, nothing is asked."""
    verdict, fault = _verdict(found.incident)
    asked, why = _asked(verdict, str(fault.get("fault", "")), subject)
    requests: list[Request] = []
    least = LEAST.get(asked, 0.0)
    if asked is not Asked.NOTHING and subject is not None:
        try:
            requests, least = requests_for(subject, asked, str(fault["fault"]), least)
        except Missing as reason:
            asked, why = Asked.NOTHING, str(reason)
        else:
            asked, why = (asked, "") if requests else (Asked.NOTHING, "none of its requests has another right answer")
    return told_case(found, asked, why, least if asked is not Asked.NOTHING else 0.0), requests


def _verdict(incident: Incident) -> tuple[dict[str, Any], dict[str, Any]]:
    """The verdict of an incident, and its first fault; empty where there is none."""
    verdict = incident.verdict if isinstance(incident.verdict, dict) else {}
    return verdict, next(iter(verdict.get("faults") or []), {})


def _asked(verdict: dict[str, Any], fault: str, subject: Subject | None) -> tuple[Asked, str]:
    if not verdict:
        return Asked.NOTHING, "it was never diagnosed"
    if not fault:
        return Asked.NOTHING, f"its verdict is {verdict.get('status', 'unknown')}: there is no fault that could be back"
    if fault in NOT_IN_REQUESTS:
        return Asked.NOTHING, "it lay in how the server ran, or in how it was seen: no request shows it"
    if subject is None:
        return Asked.NOTHING, "no target was given, and what is right is not known without one"
    if fault in LABELS_ALONE:
        return Asked.TRUTH, ""
    return (Asked.REFUSALS if fault in IN_REFUSALS else Asked.ANSWERS), ""


def told_case(found: Found, asked: Asked = Asked.NOTHING, why: str = "", least: float = 0.0) -> Case:
    """The case of an incident as its verdict tells it."""
    incident = found.incident
    verdict, fault = _verdict(incident)
    return Case(
        id=incident.id,
        model=incident.model,
        monitor=incident.monitor,
        message=incident.message,
        asked=asked,
        least=round(least, 3),
        layer=str(verdict.get("first_faulty_layer") or fault.get("layer") or ""),
        fault=str(fault.get("fault", "")),
        place=_place(fault),
        remedy=str(fault.get("remedy", "")),
        proven=fault.get("confirmed") is True,
        why=why,
        began=incident.began,
        closed=incident.closed,
    )


def _place(fault: dict[str, Any]) -> str:
    return ", ".join(str(Place.from_json(place)) for place in fault.get("where") or ())
