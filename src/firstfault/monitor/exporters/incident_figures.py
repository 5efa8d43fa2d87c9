"""Incidents as metrics: how many there were and are, in which layer, and when each began."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec

from firstfault.monitor.database import Database
from firstfault.monitor.exporters.families import Family, Kind, Point

logger = logging.getLogger(__name__)
LATELY_SECONDS = 3_600.0
"""How long a closed incident is shown with its times."""
MOST_SHOWN = 100
UNDIAGNOSED, NO_LAYER = "undiagnosed", "none"
OPENED, CLOSED = "opened", "closed"


class Fault(msgspec.Struct):
    """What of a fault of a verdict is shown."""

    fault: str = ""


class Judged(msgspec.Struct):
    """What of a verdict is shown."""

    first_faulty_layer: str | None = None
    faults: tuple[Fault, ...] = ()


class Shown(msgspec.Struct):
    """What of an incident is shown; the rest of its document is passed over, which is quick."""

    id: str
    model: str
    monitor: str
    began: float
    opened: float
    closed: float | None = None
    verdict: Judged | None = None

    @property
    def layer(self) -> str:
        """The first faulty layer, once it is known."""
        if self.verdict is None:
            return UNDIAGNOSED
        return self.verdict.first_faulty_layer or NO_LAYER

    @property
    def fault(self) -> str:
        """The first fault, where there is one."""
        return self.verdict.faults[0].fault if self.verdict and self.verdict.faults else ""


_decode = msgspec.json.Decoder(Shown).decode


def shown_incidents(database: Database) -> list[Shown]:
    """Every incident, the oldest first; one that can't be read, as of another version, hides no other.

    Raises:
        StoreError: when the database does not answer.
    """
    found = []
    for id_, document in database.rows("SELECT id, document FROM incidents ORDER BY opened, id"):
        try:
            found.append(_decode(document))
        except msgspec.DecodeError as error:
            logger.warning("the incident %s can't be read: %s", id_, error)
    return found


def words_since(database: Database, since: float) -> list[tuple[str, str]]:
    """Which incidents were opened and closed since a time, each with what happened.

    Raises:
        StoreError: when the database does not answer.
    """
    return [
        (incident.id, word)
        for incident in shown_incidents(database)
        for word, at in ((OPENED, incident.opened), (CLOSED, incident.closed))
        if at is not None and at >= since
    ]


def incident_families(database: Database, now: float) -> list[Family]:
    """The metrics of a database's incidents.

    Raises:
        StoreError: when it does not answer.
    """
    incidents = shown_incidents(database)
    return [*_numbers(incidents), *_moments(incidents, now)]


def _numbers(incidents: list[Shown]) -> Iterator[Family]:
    yield Family(
        "firstfault_incidents_opened",
        "Incidents that were ever opened, by the monitor that did",
        Kind.COUNTER,
        labels=("model", "monitor"),
        points=_counted((each.model, each.monitor) for each in incidents),
    )
    yield Family(
        "firstfault_incidents",
        "Incidents that were diagnosed, by their first faulty layer",
        Kind.COUNTER,
        labels=("model", "layer"),
        points=_counted((each.model, each.layer) for each in incidents if each.verdict is not None),
    )
    yield Family(
        "firstfault_incidents_open",
        "Incidents that are open now, by their first faulty layer",
        labels=("model", "layer"),
        points=_counted((each.model, each.layer) for each in incidents if each.closed is None) or _none(incidents),
    )


def _moments(incidents: list[Shown], now: float) -> Iterator[Family]:
    lately = [each for each in incidents if each.closed is None or each.closed > now - LATELY_SECONDS][-MOST_SHOWN:]
    yield _times("began", "When an incident is believed to have begun", [(each, each.began) for each in lately])
    yield _times(OPENED, "When an incident was opened", [(each, each.opened) for each in lately])
    over = [(each, each.closed) for each in lately if each.closed is not None]
    yield _times(CLOSED, "When an incident was over", over)


def _counted(labels: Iterable[tuple[str, ...]]) -> tuple[Point, ...]:
    return tuple(Point(each, n) for each, n in sorted(Counter(labels).items()))


def _none(incidents: Iterable[Shown]) -> tuple[Point, ...]:
    """A zero for each model that ever had an incident: a series that is gone ends no alert at once."""
    return tuple(Point((model, UNDIAGNOSED), 0) for model in sorted({incident.model for incident in incidents}))


def _times(what: str, text: str, times: list[tuple[Shown, float]]) -> Family:
    return Family(
        f"firstfault_incident_{what}_timestamp",
        f"{text}, since 1970; of those that are open or were an hour ago",
        unit="seconds",
        labels=("incident", "model", "monitor", "layer", "fault"),
        points=tuple(
            Point((each.id, each.model, each.monitor, each.layer, each.fault), value) for each, value in times
        ),
    )
