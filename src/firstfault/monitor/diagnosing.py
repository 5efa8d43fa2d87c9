"""An incident judged: its records and its control as a subject, layer by layer, each suspicion undone on them.

verdict = judge(evidence_of(incident, records, control), Base.of(target), folder)
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from firstfault.ablation.replay.undo import undo
from firstfault.check import Depth, checks_of, run_check, run_checks
from firstfault.diagnosis import diagnose
from firstfault.errors import Missing, UserCodeError
from firstfault.finding import Layer, LayerReport, Status
from firstfault.ladder import Step
from firstfault.monitor.found import WINDOW
from firstfault.output.whole_files import write_json
from firstfault.subject.harm import harm
from firstfault.subject.incident import Evidence, incident
from firstfault.subject.offline import offline
from firstfault.subject.subject import Subject
from firstfault.target.declaration import Target
from firstfault.verdict import SubjectKind, Verdict


def subject_of(evidence: Evidence, base: Subject | None, folder: Path, name: str = "") -> Subject:
    """The subject of an incident, over the one of its target, whose data and model stay made; or without any.

    The healthy requests just before it may hold what was noticed late. The requests that said what is usual take their
    place where nothing fails beside these, or where an earlier layer fails beside those, or the same one for certain.
    """
    if base is not None:
        with contextlib.suppress(Missing, UserCodeError):
            offline(base)  # once, for both
    subject = _subject_of(evidence, base, folder, name)
    if not evidence.usual.all:
        return subject
    other = _subject_of(evidence.beside_usual(), base, folder, name)
    failing = _first_failing(subject, tuple(Layer))
    if failing is None:
        return other
    suspected = _first_failing(subject, [failing], CERTAIN) is None
    upto = tuple(Layer)[: failing.rank + suspected]
    return subject if _first_failing(other, upto, CERTAIN) is None else other


def _subject_of(evidence: Evidence, base: Subject | None, folder: Path, name: str) -> Subject:
    if base is None:
        subject = Subject(Target(name or evidence.id), folder)
    else:
        subject = base.up_to("trained")
        subject.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
    subject.supply(incident, evidence)
    return subject


CERTAIN = 0.75
"""The weight from which on a failure is no suspicion that other traffic may raise, as a season does."""


def _first_failing(subject: Subject, layers: Sequence[Layer], weight: float = 0.0) -> Layer | None:
    """The first of some layers in which a check of incidents fails, with a fault of that weight; None where none does.

    What the checks measure stays made.
    """
    for layer in layers:
        for entry in checks_of(layer, SubjectKind.INCIDENT):
            found = run_check(entry, subject, subject.target.thresholds.get(entry.name, {}))
            fails = [finding for finding in found if finding.status is Status.FAIL]
            if any(max(finding.faults.values(), default=0.0) >= weight for finding in fails):
                return layer
    return None


def judge(subject: Subject) -> Verdict:
    """The verdict over an incident: the ladder walked on its requests, each suspicion undone by a replay of them."""
    steps = [Step(layer, partial(examine, layer, subject), tested=True) for layer in Layer]
    return diagnose(
        subject,
        Depth.STANDARD,
        steps=steps,
        confirm_report=partial(undo, subject),
        kind=SubjectKind.INCIDENT,
        left_open=partial(left_open, subject),
    )


def examine(layer: Layer, subject: Subject) -> LayerReport | None:
    """The checks of incidents of one layer; None where it has none."""
    report = run_checks(layer, subject, Depth.STANDARD, subject.target.thresholds, kind=SubjectKind.INCIDENT)
    if not report.findings:
        return None
    write_json(subject.folder / f"layer_{layer.rank + 1}_{layer.value}.json", report.to_json())
    return report


REPLAYED = frozenset({"served_tensors", "served_logits", "served_labels", "served_truth", "served_behaviour"})
"""The checks of which one must have compared answers with the offline truth."""
OF_TIME = ("latency", "resources")
"""Monitors whose incidents are of time and memory: that the answers are right does not clear them."""
BESIDE_ANSWERS = (*OF_TIME, "bad_events", "marks", "assertions", "telemetry", "arms", "clocks")
"""Monitors of what no label of an answer can deny."""
FEWEST = 100
"""Requests of which fewer clear nothing: a fault in one of twenty of them shows five times."""


def left_open(subject: Subject, reports: Sequence[LayerReport]) -> list[str]:
    """Why an incident in which no fault was found can't be called healthy.

    What opened it was seen for certain: healthy it is where that is explained by what is no fault, as by slow clients,
    or denied by labels. A time that somebody asked for was opened by nothing.
    """
    seen = incident(subject)
    looked = {
        finding.check: finding.status
        for report in reports
        for finding in report.findings
        if finding.status is not Status.SKIPPED
    }
    of_time = seen.monitor.startswith(OF_TIME)
    explains = "served_latency" if of_time else "served_logits"
    # one that names no fault explains it; one whose fault was refuted does not
    explained = any(
        finding.check == explains and finding.status is Status.WARN and not finding.faults
        for report in reports
        for finding in report.findings
    )
    reasons = []
    if len(seen.requests) < FEWEST:
        reasons.append(f"{len(seen.requests)} requests are too few to clear anything, of which {FEWEST} are needed")
    denied = not seen.monitor.startswith(BESIDE_ANSWERS) and harm(subject).is_denied
    if seen.monitor != WINDOW and not explained and not denied:
        reasons.append(f"the monitor {seen.monitor} opened it, and nothing explains that, or denies that it does harm")
    if not (explained and of_time) and not REPLAYED & set(looked):
        reasons.append("no answer could be compared with an offline one: a target that can be asked is needed for that")
    return reasons
