"""One incident from its id to its verdict: judged on its own requests, recorded in MLflow, reported, and kept.

It knows no orchestrator: a flow hands in its steps, as it does for a debug run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import msgspec

from firstfault import progress
from firstfault.ablation.replay.undo import undo
from firstfault.check import Depth
from firstfault.diagnosis import diagnose
from firstfault.errors import FirstfaultError
from firstfault.finding import Layer, LayerReport
from firstfault.ladder import Step
from firstfault.monitor.diagnosing import examine, left_open, subject_of
from firstfault.monitor.found import WINDOW, Found, find, window
from firstfault.monitor.incidents import Incidents
from firstfault.monitor.keeping import told_case
from firstfault.monitor.settings import settings_over_kept
from firstfault.monitor.store import Store
from firstfault.recording.debug_run import DebugRun, carried_out
from firstfault.recording.found_failures import keep_of_incident
from firstfault.recording.steps import Ended, Opened, Steps
from firstfault.runs.ref import RunRef
from firstfault.runs.state import state_here
from firstfault.subject.fit import expect_fit
from firstfault.subject.opening import subject_with_model
from firstfault.target.locate import locate
from firstfault.verdict import Outcome, SubjectKind, Verdict


@dataclass(frozen=True)
class IncidentSettings:
    """What a diagnosis is asked for: an incident by its id, or the requests between two times (seconds since 1970)."""

    incident: str = ""
    since: float | None = None
    until: float | None = None
    target: str = ""
    store: str = ""
    database: str = ""
    archive: str = ""
    model: str = ""
    overrides: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """The parameters of the flow `incident`; a database's URL may hold a password, and is none."""
        values = {name: value for name, value in asdict(self).items() if name != "database"}
        return {**values, "overrides": dict(self.overrides)}


def diagnose_incident(settings: IncidentSettings, steps: Steps | None = None) -> Ended:
    """Judge an incident; the verdict, and where its files are.

    Raises:
        FirstfaultError: for an incident that isn't there, or a target that doesn't fit its requests.
        StoreError: when the monitor's database doesn't answer.
    """
    with progress.in_run():
        return carried_out(IncidentRun(settings, steps or Steps()))


class IncidentRun(DebugRun):
    """A diagnosis on its way: a debug run whose subject is an incident."""

    found: Found

    def __init__(self, settings: IncidentSettings, steps: Steps) -> None:
        self.asked, self.steps = settings, steps

    def open(self) -> Opened:
        """Find the incident and its requests, load the target, and open the run's folder and its run in MLflow."""
        asked = self.asked
        store = Store(settings_over_kept(asked.store, database=asked.database, archive=asked.archive))
        self.incidents, self.found = Incidents(store.database), _find(store, asked)
        state = state_here()
        place = locate(asked.target) if asked.target else f"incident {self.found.incident.id}"
        folder = state.new_run()
        base = subject_with_model(place, asked.overrides, folder, state.runs) if asked.target else None
        self.subject = subject_of(self.found.evidence, base, folder, self.found.incident.model)
        if base is not None:
            expect_fit(self.subject)
        self.ref = RunRef(place, str(folder), str(state.home), Depth.STANDARD, asked.overrides)
        return self._opened("incident", later=not self.steps.shows_pages)

    def walk(self) -> Verdict:
        """Examine the layers in their order, and conclude."""
        steps = [Step(layer, partial(examine, layer, self.subject), tested=True) for layer in Layer]
        recorded = [replace(step, examine=partial(self._examine, step)) for step in steps]
        with progress.listening(self._keep):
            return diagnose(
                self.subject,
                Depth.STANDARD,
                steps=recorded,
                confirm_report=self._confirm,
                kind=SubjectKind.INCIDENT,
                left_open=partial(left_open, self.subject),
            )

    def _confirm(self, report: LayerReport) -> list[Outcome]:
        def work() -> list[Outcome]:
            with self.log.stage(report.layer.value):
                return undo(self.subject, report)

        return self.steps.confirm(report.layer, work)

    def conclude(self, verdict: Verdict) -> Ended:
        """Write the verdict into the incident, verdict.json and the report, and record them."""
        ended = super().conclude(verdict)
        if self.found.incident.monitor != WINDOW:
            incident = msgspec.structs.replace(self.found.incident, verdict=ended.verdict.to_json())
            self.incidents.keep(incident)
            if ended.verdict.faults:
                keep_of_incident(told_case(self.found._replace(incident=incident)), self.ref.home)
        return ended

    def _keep_failures(self, folder: Path) -> None:
        """An incident is one failure itself."""

    def _write_events(self, folder: Path) -> None:
        """An incident trained nothing."""

    def _write_report(self, verdict: Verdict, folder: Path, links: Mapping[str, str]) -> Path:
        from firstfault.report.incident_page import write_incident_report

        return write_incident_report(verdict, self.subject, folder, self._timeline(), links)

    def _timeline(self) -> list[dict[str, float | None]]:
        """What happened around the incident, a row for each request."""
        return [
            {
                "time": record.time,
                "seconds": record.stages.total,
                "bad": float(record.outcome in ("error", "refused")),
                "confidence": record.confidence,
            }
            for record in self.found.around
        ]


def _find(store: Store, asked: IncidentSettings) -> Found:
    if asked.incident:
        return find(store, asked.incident)
    if asked.since is None or asked.until is None:
        raise FirstfaultError("incident must be told which one: its id, or --since and --until")
    return window(store, asked.since, asked.until, asked.model)
