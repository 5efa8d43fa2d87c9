"""A stream, watched and diagnosed as firstfault does it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from firstfault.monitor.incidents import Incident, Incidents
from firstfault.monitor.store import Store
from firstfault.subject.subject import Subject
from firstfault.target.loader import load_target
from monitoring.served.bases import Base
from monitoring.served.drawing import Case

MOST_GIVEN = 1_500
"""Requests of a given window that are diagnosed, from its beginning; as many before it are its control."""
REFERENCE = 2_000


@dataclass
class Judged:
    """What came out of one stream."""

    name: str
    step: str
    shown: str
    layers: list[str]
    faults: list[str]
    harm: dict[str, float]
    opened: int | None = None
    """Requests after the onset at which an incident opened; None where none did."""
    false: list[str] = field(default_factory=list)
    """Incidents of healthy requests: which monitor, and how many requests after the beginning."""
    watched: int = 0
    """Healthy requests that were watched."""
    monitor: str = ""
    status: str = ""
    layer: str | None = None
    found: list[str] = field(default_factory=list)
    confirmed: bool | None = None
    reason: str = ""
    seconds: float = 0.0
    note: str = ""
    told: str = ""

    @property
    def planted(self) -> bool:
        """Whether there was a fault."""
        return bool(self.faults)


def judged_of(case: Case) -> Judged:
    """What is known of a stream before it is looked at."""
    kind = case.planted
    if kind is None:
        return Judged(case.name, "healthy", "", [], [], case.stream.harm, told=case.stream.told)
    return Judged(
        case.name,
        kind.step,
        kind.shown,
        sorted(kind.layers),
        [kind.id, *sorted(kind.faults - {kind.id})],
        case.stream.harm,
        told=case.stream.told,
    )


def watched(case: Case, judged: Judged, store: Store) -> Incident | None:
    """The first incident that detection opens after the onset; false ones are noted."""
    from firstfault.monitor.detect.running import Run
    from firstfault.monitor.detect.settings import Detection

    Run(store, Detection()).once()
    healthy = [record for record in case.stream.records if case.planted is None or record.time < case.stream.onset]
    judged.watched = max(0, len(healthy) - REFERENCE)
    true: list[Incident] = []
    for incident in Incidents(store.database).all():
        if case.planted is None or incident.opened < case.stream.onset:
            begun = incident.opened - case.stream.times[0]
            judged.false.append(f"{incident.monitor} at {begun:.0f} s: {incident.message}")
            true += [incident] * (case.planted is None)
        else:
            true.append(incident)
    if true and case.planted is not None:
        judged.opened, judged.monitor = case.stream.after(true[0].opened), true[0].monitor
    return true[0] if true else None


def given(case: Case, store: Store) -> Incident:
    """The true window as an incident."""
    stream = case.stream
    middle = (
        stream.onset
        if case.planted is not None or stream.onset < stream.ended
        else float(stream.times[len(stream.times) // 2])
    )
    after = [record for record in stream.records if record.time >= middle][:MOST_GIVEN]
    before = [record for record in stream.records if record.time < middle][-MOST_GIVEN:]
    shown = case.planted.shown if case.planted is not None else "answers"
    incident = Incident(
        id="given",
        model=case.base.name,
        monitor=_monitor(shown),
        began=middle,
        opened=after[-1].time,
        log_e=12.0,
        message="the true window is given",
        requests=tuple(record.raw for record in after),
        control=tuple(record.raw for record in before),
    )
    Incidents(store.database).keep(incident)
    return incident


def _monitor(shown: str) -> str:
    return {"latency": "latency:total", "errors": "bad_events", "labels": "label_errors", "telemetry": "telemetry"}.get(
        shown, "scores"
    )


class Diagnosis:
    """Diagnoses incidents of one base's streams; the target is opened once."""

    def __init__(self) -> None:
        self._subjects: dict[str, Subject] = {}

    def verdict(self, base: Base, incident: Incident, store: Store, folder: Path) -> Any:
        """The verdict over an incident of a store."""
        from firstfault.monitor.diagnosing import judge, subject_of
        from firstfault.monitor.found import find

        if base.name not in self._subjects:
            self._subjects[base.name] = Subject(load_target(str(base.file)), base.folder / "diagnosed")
        return judge(subject_of(find(store, incident.id).evidence, self._subjects[base.name], folder))


def note_verdict(judged: Judged, verdict: Any) -> None:
    """Write down what a verdict says."""
    first = verdict.first_faulty_layer
    judged.status = str(verdict.status.value)
    judged.layer = first.value if first is not None else None
    judged.found = [entry.fault for entry in verdict.faults]
    if verdict.faults:
        named = verdict.faults[0]
        judged.confirmed = named.confirmed
        judged.reason = next((each.reason for each in verdict.outcomes if each.fault == named.fault), "")
