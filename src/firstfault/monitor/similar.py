"""Earlier cases that are like a new incident: by fault, layer, place, what showed it, and model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from firstfault.behaviour.cases import Case
from firstfault.monitor.incidents import Incident
from firstfault.place import Place

WEIGHTS = {"fault": 0.4, "place": 0.2, "layer": 0.15, "what showed it": 0.15, "model": 0.1}
"""What each agreement counts: the fault most, since its remedy is the same; a choice of ours."""
LEAST, MOST = 0.3, 3


class Similar(NamedTuple):
    """An earlier case, how like it is, 0–1, and in what."""

    case: Case
    likeness: float
    alike_in: tuple[str, ...]

    def __str__(self) -> str:
        state = "proven" if self.case.proven else "unproven"
        remedy = f"; what helped: {self.case.remedy}" if self.case.remedy else ""
        return f"{self.case.id} ({self.case.name}, {state}) is alike in {', '.join(self.alike_in)}{remedy}"


def nearest(incident: Incident, verdict: dict[str, Any] | None, cases: Iterable[Case]) -> list[Similar]:
    """The cases that are most like an incident, the likest first; what is not known of it counts for nothing."""
    told = _told(incident, verdict or {})
    found = [_compared(told, case) for case in cases if case.id != incident.id]
    alike = [each for each in found if each.likeness >= LEAST]
    return sorted(alike, key=lambda each: (-each.likeness, -each.case.began))[:MOST]


def _told(incident: Incident, verdict: dict[str, Any]) -> dict[str, str]:
    fault: dict[str, Any] = next(iter(verdict.get("faults") or []), {})
    return {
        "fault": str(fault.get("fault", "")),
        "place": ", ".join(str(Place.from_json(place)) for place in fault.get("where") or ()),
        "layer": str(verdict.get("first_faulty_layer") or ""),
        "what showed it": _family(incident.monitor),
        "model": incident.model,
    }


def _compared(told: dict[str, str], case: Case) -> Similar:
    kept = {
        "fault": case.fault,
        "place": case.place,
        "layer": case.layer,
        "what showed it": _family(case.monitor),
        "model": case.model,
    }
    alike = tuple(name for name in WEIGHTS if told[name] and told[name] == kept[name])
    return Similar(case, round(sum(WEIGHTS[name] for name in alike), 2), alike)


def _family(monitor: str) -> str:
    return monitor.partition(":")[0]
