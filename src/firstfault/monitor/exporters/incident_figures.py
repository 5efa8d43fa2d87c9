"""Incidents as metrics: how many there were and are, in which layer, and when each began."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

from firstfault.monitor.database import Database
from firstfault.monitor.exporters.families import Family, Kind, Point

LATELY_SECONDS = 3_600.0
"""How long a closed incident is shown with its times."""
MOST_SHOWN = 100
UNDIAGNOSED, NO_LAYER = "undiagnosed", "none"


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
    """Every incident, the oldest first.

    Raises:
        StoreError: when the database does not answer.
    """
    return [_decode(document) for (document,) in database.rows("SELECT document FROM incidents ORDER BY opened, id")]


def incident_families(database: Database, now: float) -> list[Family]:
    """The metrics of a database's incidents.

    Raises:
        StoreError: when it does not answer.
    """
    incidents = shown_incidents(database)
    running = [incident for incident in incidents if incident.closed is None]
    diagnosed = [incident for incident in incidents if incident.verdict is not None]
    lately = [each for each in incidents if each.closed is None or each.closed > now - LATELY_SECONDS][-MOST_SHOWN:]
    return [
        Family(
            "firstfault_incidents_opened",
            "Incidents that were ever opened, by the monitor that did",
            Kind.COUNTER,
            labels=("model", "monitor"),
            points=_counted((each.model, each.monitor) for each in incidents),
        ),
        Family(
            "firstfault_incidents",
            "Incidents that were diagnosed, by their first faulty layer",
            Kind.COUNTER,
            labels=("model", "layer"),
            points=_counted((each.model, each.layer) for each in diagnosed),
        ),
        Family(
            "firstfault_incidents_open",
            "Incidents that are open now, by their first faulty layer",
            labels=("model", "layer"),
            points=_counted((each.model, each.layer) for each in running) or _none(incidents),
        ),
        _times("began", "When an incident is believed to have begun", lately, [each.began for each in lately]),
        _times("opened", "When an incident was opened", lately, [each.opened for each in lately]),
        _times(
            "closed",
            "When an incident was over",
            closed := [each for each in lately if each.closed is not None],
            [each.closed or 0.0 for each in closed],
        ),
    ]


def _counted(labels: Iterable[tuple[str, ...]]) -> tuple[Point, ...]:
    return tuple(Point(each, n) for each, n in sorted(Counter(labels).items()))


def _none(incidents: Iterable[Shown]) -> tuple[Point, ...]:
    """A zero for each model that ever had an incident: a series that is gone ends no alert at once."""
    return tuple(Point((model, UNDIAGNOSED), 0) for model in sorted({incident.model for incident in incidents}))


def _times(what: str, text: str, incidents: list[Shown], times: list[float]) -> Family:
    return Family(
        f"firstfault_incident_{what}_timestamp",
        f"{text}, since 1970; of those that are open or were an hour ago",
        unit="seconds",
        labels=("incident", "model", "monitor", "layer", "fault"),
        points=tuple(
            Point((each.id, each.model, each.monitor, each.layer, each.fault), value)
            for each, value in zip(incidents, times, strict=True)
        ),
    )
