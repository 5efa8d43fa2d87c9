"""An incident found in a store: by its id, or as the requests between two times, with healthy ones beside them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence, Set
from datetime import UTC, datetime
from typing import NamedTuple

from firstfault.errors import FirstfaultError
from firstfault.monitor.incidents import Incident, Incidents
from firstfault.monitor.record import Outcome, Record
from firstfault.monitor.requests import evidence_of
from firstfault.monitor.segments import begin_of
from firstfault.monitor.store import Store
from firstfault.subject.incident import Evidence, Telemetry

HOUR, WEEK = 3600.0, 7 * 86_400.0
MOST = 5_000
"""Requests of each side that are looked at, the last ones before an incident and the first ones of it."""
FEWEST = 20
AROUND = 6 * HOUR
"""How much before and after an incident its timeline shows."""
WINDOW = "window"


class Found(NamedTuple):
    """An incident with its records, those of its control, and those around it, for a timeline."""

    incident: Incident
    records: list[Record]
    control: list[Record]
    around: list[Record]
    lost: dict[str, int]
    usual: Sequence[Record] = ()

    @property
    def evidence(self) -> Evidence:
        """What it is judged by."""
        return evidence_of(self.incident, self.records, self.control, Telemetry(lost=self.lost), self.usual)


def find(store: Store, id_: str) -> Found:
    """The incident of an id.

    Raises:
        FirstfaultError: when the store has none of that id, or none of its requests is kept any more.
        StoreError: when its database doesn't answer.
    """
    incident = Incidents(store.database).get(id_)
    if incident is None:
        known = [each.id for each in Incidents(store.database).all()]
        hint = f"; it has {', '.join(known[-5:])}" if known else "; it has none"
        raise FirstfaultError(f"{id_!r} must be an incident of {store.settings.folder}, but there is no such one{hint}")
    return _found(store, incident)


def window(store: Store, since: float, until: float, model: str = "") -> Found:
    """The requests between two times as an incident that nobody opened.

    Raises:
        FirstfaultError: when there are none, or the times are no period.
    """
    if not since < until:
        raise FirstfaultError(f"--since must lie before --until, but got {said(since)} and {said(until)}")
    _expect_records(store)
    found = [record for record in store.records(since, until) if not model or record.model == model]
    if not found:
        raise FirstfaultError(
            f"there must be requests between {said(since)} and {said(until)} in {store.settings.folder}, but there "
            f"are none{f' of {model}' if model else ''}"
        )
    name = model or found[0].model
    message = f"requests from {said(since)} to {said(until)}, as they were asked for"
    identity = f"{WINDOW}-{datetime.fromtimestamp(since, UTC):%Y%m%d-%H%M%S}"
    return _found(store, Incident(identity, name, WINDOW, since, since, 0.0, message, closed=until))


def said(moment: float) -> str:
    """A time as people read it."""
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S}"


def moment_of(text: str, name: str) -> float:
    """A time as ISO 8601 says it, in UTC where it names no zone, or as seconds since 1970.

    Raises:
        FirstfaultError: when it is neither.
    """
    try:
        return float(text)
    except ValueError:
        pass
    try:
        told = datetime.fromisoformat(text)
    except ValueError as error:
        raise FirstfaultError(
            f"{name} must be a time as 2026-11-29T14:00 or seconds since 1970, but got {text!r}"
        ) from error
    return (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp()


def _expect_records(store: Store) -> None:
    if not store.request_ids():
        raise FirstfaultError(f"there must be records in {store.settings.folder}, but there are none")


def _found(store: Store, incident: Incident) -> Found:
    _expect_records(store)
    until = incident.closed or max(incident.opened, time.time())
    around = store.records(_earliest(incident) - AROUND, until + AROUND)
    around = [record for record in around if record.model == incident.model]
    referred = _referred(store, around, {*incident.requests, *incident.control, *incident.usual})
    named = _of(referred, incident.requests)
    known = {record.raw for record in named}
    # detection opens after few requests: the others of its time show the same, or that it was nothing
    chosen = [*named, *(each for each in _between(around, incident.began, until) if each.raw not in known)]
    control = _of(referred, incident.control) or _healthy(store, incident, around)
    if not chosen:
        raise FirstfaultError(
            f"the requests of {incident.id} must still be in {store.settings.folder}, but none of them is"
        )
    taken = {record.raw for record in chosen}
    control = [record for record in control if record.raw not in taken]
    chosen = sorted(chosen[:MOST], key=lambda record: record.time)
    usual = [record for record in _of(referred, incident.usual) if record.raw not in taken]
    return Found(incident, chosen, control[-MOST:], around, _lost(store, incident.began, until), usual)


def _earliest(incident: Incident) -> float:
    """The first hour of a request that an incident refers to, or when it began."""
    hours = [reference.partition("/")[0] for reference in (*incident.requests, *incident.control)]
    times = map(begin_of, hours)
    return min([incident.began, *(each for each in times if each is not None)])


def _referred(store: Store, records: Iterable[Record], wanted: Set[str]) -> list[Record]:
    """The records of some references; those of logs may lie in hours long after their time."""
    found = [record for record in records if record.raw in wanted]
    return found if len(found) == len(wanted) else [record for record in store.records() if record.raw in wanted]


def _of(records: Iterable[Record], references: Sequence[str]) -> list[Record]:
    wanted = set(references)
    return [record for record in records if record.raw in wanted]


def _between(records: Iterable[Record], since: float, until: float) -> list[Record]:
    return [record for record in records if since <= record.time < until or record.time == until]


def _healthy(store: Store, incident: Incident, around: Sequence[Record]) -> list[Record]:
    """The same hours of the week before, where they were recorded; else the hours before the incident, or after it."""
    since, until = incident.began, incident.closed or incident.opened
    week = [
        record
        for record in store.records(since - WEEK, max(until, since + HOUR) - WEEK)
        if record.model == incident.model and record.outcome is Outcome.OK
    ]
    before = [record for record in around if record.time < since]
    if len(week) >= FEWEST and len(before) < FEWEST:
        return week
    after = [record for record in around if incident.closed is not None and record.time > incident.closed]
    return before if len(before) >= FEWEST else [*before, *after]


def _lost(store: Store, since: float, until: float) -> dict[str, int]:
    """What was lost in the hours of a period."""
    query = "SELECT cause, SUM(n) FROM losses WHERE hour >= :first AND hour <= :last GROUP BY cause"
    first, last = int(since // HOUR) * int(HOUR), int(until)
    return {cause: int(n) for cause, n in store.database.rows(query, first=first, last=last)}
