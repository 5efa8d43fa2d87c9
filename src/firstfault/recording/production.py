"""A model in production, debugged from Python: requests in, issues with their diagnosis out.

    debugger = ProductionDebugger("churn", MonitoringConfig(target="churn/target.py"))
    for issue in debugger.continuous_debugging(stream):          # rows, pairs of (request, answer), or file after file
        print(issue.severity, issue.kind, issue.contributing_factors, issue.recommended_actions)

It is the monitor's store, its detection and its diagnosis, as `firstfault monitor detect` and `firstfault incident` use
them: what the one has begun, the other goes on with.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import count, islice
from typing import Any

from firstfault.errors import FirstfaultError
from firstfault.monitor.assertions import assertions_of
from firstfault.monitor.detect.kinds import IssueKind, kind_of
from firstfault.monitor.detect.running import Run
from firstfault.monitor.detect.settings import detection_of
from firstfault.monitor.exporters.alerts import tell
from firstfault.monitor.incidents import Incident, Incidents
from firstfault.monitor.intake import Intake
from firstfault.monitor.logged import Reader
from firstfault.monitor.looking import look
from firstfault.monitor.settings import settings_over_kept
from firstfault.monitor.store import Store
from firstfault.recording.incident_run import IncidentSettings, diagnose_incident
from firstfault.texts import nearest
from firstfault.verdict import Verdict

logger = logging.getLogger(__name__)
AT_ONCE = 500
"""Requests between two looks of the detection."""
MOST_SIMILAR = 5
"""Incidents like one that are shown beside it, the latest first."""


@dataclass(frozen=True)
class MonitoringConfig:
    """What a debugger is told once.

    Attributes:
        target: the target that is served, file.py or file.py:name: the offline truth for replays.
        assertions: a Python file with functions under `@firstfault.monitor.assertion`.
        store: the folder of the records; `monitor` in the state folder if left out.
        database: the URL of the store's database; SQLite in the store if left out.
        sample: the share of usual requests that is kept.
        detection: settings of `firstfault.monitor.detect.settings.Detection`, by name.
        alerts: addresses that are told of each issue.
    """

    target: str = ""
    assertions: str = ""
    store: str = ""
    database: str = ""
    sample: float = 1.0
    detection: Mapping[str, Any] = field(default_factory=dict)
    alerts: Sequence[str] = ()

    @classmethod
    def of(cls, given: MonitoringConfig | Mapping[str, Any] | None) -> MonitoringConfig:
        """A configuration, or a mapping of its settings.

        Raises:
            FirstfaultError: for a setting that nobody knows.
        """
        if isinstance(given, MonitoringConfig):
            return given
        known = [each.name for each in fields(cls)]
        for name in given or {}:
            if name not in known:
                raise FirstfaultError(
                    f"a setting of the monitoring must be one of {', '.join(known)}, but got {name!r}"
                    f"{nearest(name, known)}"
                )
        return cls(**(given or {}))


@dataclass(frozen=True)
class Issue:
    """An incident and what its diagnosis says of it.

    Attributes:
        severity: 0–1; how sure the worst of its faults is, where it is one that stands, and half of that elsewhere.
        category: the first faulty layer, or "undecided" or "healthy", as the verdict says.
        contributing_factors: the evidence, a sentence each: of the faults, and before them of what the monitors saw.
        similar: ids of earlier incidents with the same first fault, or of the same monitor.
        recommended_actions: the remedies of the faults, the most likely one's first.
    """

    kind: IssueKind
    incident: Incident
    verdict: Verdict
    severity: float
    category: str
    contributing_factors: tuple[str, ...]
    similar: tuple[str, ...]
    recommended_actions: tuple[str, ...]
    report: str | None = None

    def __str__(self) -> str:
        return f"{self.kind} in {self.incident.model}: {self.incident.message}; {self.category}, {self.severity:.2f}"


class ProductionDebugger:
    """Records, watches and diagnoses one model.

    Args:
        model_id: its name in the store.
        monitoring_config: where its records lie, what it is compared with, who is told.

    Raises:
        FirstfaultError: for a setting that is unknown or out of its range.
        TargetError: when a target or a file of assertions can't be imported.
    """

    def __init__(self, model_id: str, monitoring_config: MonitoringConfig | Mapping[str, Any] | None = None) -> None:
        self.model_id, self.config = model_id, MonitoringConfig.of(monitoring_config)
        config = self.config
        self.settings = settings_over_kept(
            config.store, database=config.database, model=model_id, sample=config.sample, alerts=tuple(config.alerts)
        )
        self.store = Store(self.settings)
        self.incidents = Incidents(self.store.database)
        self._run = Run(self.store, detection_of(**config.detection), assertions_of(config.target, config.assertions))
        self._numbers = count()

    def continuous_debugging(self, stream: Iterable[Any]) -> Iterator[Issue]:
        """Record what a stream holds, and diagnose each incident as it opens.

        Args:
            stream: requests in the order of time: mappings as a log's rows (input, output, latency_ms, status …), or
                pairs of (request, answer).

        Raises:
            FirstfaultError: for an element that is neither.
            StoreError: when the store's database does not answer; what was recorded stays.
        """
        requests = iter(stream)
        while part := list(islice(requests, AT_ONCE)):
            self._record(part)
            found, _ = look(self._run, self.config.target)
            for incident in found.opened:
                issue = self._issue(incident)
                self.handle_issues([issue])
                yield issue

    def debug_performance(self, incident: Incident | str | None = None) -> Issue | None:
        """Diagnose an incident of worse service or answers; the last one if left out, None where there is none."""
        return self._debugged(IssueKind.PERFORMANCE, incident)

    def debug_distribution_shift(self, incident: Incident | str | None = None) -> Issue | None:
        """Diagnose an incident of moved inputs or answers; the last one if left out, None where there is none."""
        return self._debugged(IssueKind.DISTRIBUTION_SHIFT, incident)

    def debug_anomaly(self, incident: Incident | str | None = None) -> Issue | None:
        """Diagnose an incident of strange requests or records; the last one if left out, None where there is none."""
        return self._debugged(IssueKind.ANOMALY, incident)

    def debug_safety_violation(self, incident: Incident | str | None = None) -> Issue | None:
        """Diagnose an incident of answers that assertions call wrong; the last one if left out, or None."""
        return self._debugged(IssueKind.SAFETY_VIOLATION, incident)

    def handle_issues(self, issues: Iterable[Issue]) -> None:
        """Have the receivers of alerts told, once each."""
        for issue in issues:
            logger.warning("%s", issue)
            tell(issue.incident, self.settings)

    def _record(self, rows: Iterable[Any]) -> None:
        intake, reader = Intake(self.settings), Reader(self.settings, {}, time.time())
        try:
            for row in rows:
                intake.add(reader.read(_row(row, reader.now), next(self._numbers)))
        except (ValueError, TypeError, OverflowError) as error:
            raise FirstfaultError(
                f"a request must be a row with an input and an output, or a pair of them, but: {error}"
            ) from error
        finally:
            intake.end()

    def _debugged(self, kind: IssueKind, incident: Incident | str | None) -> Issue | None:
        if isinstance(incident, str):
            found = self.incidents.get(incident)
            if found is None:
                raise FirstfaultError(f"{incident!r} must be an incident of {self.model_id}, but there is no such one")
            return self._issue(found)
        if incident is not None:
            return self._issue(incident)
        ours = [each for each in self.incidents.all() if each.model == self.model_id]
        known = [each for each in ours if kind in map(kind_of, each.monitors)]
        return self._issue(known[-1]) if known else None

    def _issue(self, incident: Incident) -> Issue:
        """Diagnose an incident, as `firstfault incident ID` does."""
        ended = diagnose_incident(
            IncidentSettings(
                incident.id,
                target=self.config.target,
                store=self.config.store,
                database=self.config.database,
                model=self.model_id,
            )
        )
        verdict = ended.verdict
        seen = [each.message for each in incident.evidence] or [incident.message]
        faults = verdict.faults
        layer = verdict.first_faulty_layer
        return Issue(
            kind_of(incident.monitor),
            incident,
            verdict,
            max((fault.confidence if fault.confirmed else fault.confidence / 2 for fault in faults), default=0.0),
            layer.value if layer is not None else verdict.status.value,
            (*seen, *(sentence for fault in faults for sentence in fault.evidence)),
            self._similar(incident, verdict),
            tuple(fault.remedy for fault in faults),
            ended.report,
        )

    def _similar(self, incident: Incident, verdict: Verdict) -> tuple[str, ...]:
        first = verdict.faults[0].fault if verdict.faults else None
        before = [each for each in self.incidents.all() if each.id != incident.id and each.model == incident.model]
        alike = [
            each.id
            for each in before
            if each.monitor == incident.monitor or (first is not None and _first_fault(each) == first)
        ]
        return tuple(alike[::-1][:MOST_SIMILAR])


def _first_fault(incident: Incident) -> str | None:
    faults = (incident.verdict or {}).get("faults") or [{}]
    found = faults[0].get("fault")
    return str(found) if found is not None else None


def _row(given: Any, now: float) -> dict[str, Any]:
    """A row of a log; of a pair, the request and its answer."""
    if isinstance(given, Mapping):
        return {"time": now, **given}
    if isinstance(given, tuple) and len(given) == 2:
        return {"time": now, "input": given[0], "output": given[1]}
    raise TypeError(f"got {type(given).__name__}")
