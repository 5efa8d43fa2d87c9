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
from firstfault.output.whole_files import write_json
from firstfault.subject.incident import Evidence, incident
from firstfault.subject.offline import offline
from firstfault.subject.subject import Subject
from firstfault.target.declaration import Target
from firstfault.verdict import SubjectKind, Verdict


def subject_of(evidence: Evidence, base: Subject | None, folder: Path, name: str = "") -> Subject:
    """The subject of an incident, over the one of its target, whose data and model stay made; or without any.

    Where nothing or a mere suspicion fails beside the healthy requests before it, these may hold what was noticed late:
    then the requests that said what is usual take their place, unless they tell less.
    """
    if base is not None:
        with contextlib.suppress(Missing, UserCodeError):
            offline(base)  # once, for both
    subject = _subject_of(evidence, base, folder, name)
    if not evidence.usual.all or (told := _strongest(subject)) > SUSPICION:
        return subject
    other = _subject_of(evidence.beside_usual(), base, folder, name)
    return other if told == 0.0 or _strongest(other) > told else subject


def _subject_of(evidence: Evidence, base: Subject | None, folder: Path, name: str) -> Subject:
    if base is None:
        subject = Subject(Target(name or evidence.id), folder)
    else:
        subject = base.up_to("trained")
        subject.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
    subject.supply(incident, evidence)
    return subject


def _strongest(subject: Subject) -> float:
    """What the strongest failure of all layers weighs, 0 where nothing fails; what is measured for it stays made."""
    entries = (entry for layer in Layer for entry in checks_of(layer, SubjectKind.INCIDENT))
    found = (run_check(entry, subject, subject.target.thresholds.get(entry.name, {})) for entry in entries)
    failed = (finding for findings in found for finding in findings if finding.status is Status.FAIL)
    return max((max(finding.faults.values(), default=1.0) for finding in failed), default=0.0)


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


SUSPICION = 0.5
"""A failure that weighs less is a suspicion."""
REPLAYED = frozenset({"served_tensors", "served_logits", "served_labels", "served_truth", "served_behaviour"})
"""The checks of which one must have compared answers with the offline truth."""
OF_TIME = ("latency", "resources")
"""Monitors whose incidents are of time and memory: that the answers are right does not clear them."""
OF_HARM = ("estimated_accuracy", "label_errors", "bad_events")
"""Monitors that saw that answers are worse: as long as labels don't say otherwise, that stays to be explained."""
FEWEST = 100
"""Requests of which fewer clear nothing: a fault in one of twenty of them shows five times."""


def left_open(subject: Subject, reports: Sequence[LayerReport]) -> list[str]:
    """Why an incident in which no fault was found can't be called healthy."""
    seen = incident(subject)
    looked = {
        finding.check: finding.status
        for report in reports
        for finding in report.findings
        if finding.status is not Status.SKIPPED
    }
    explained = looked.get("served_latency") is Status.WARN
    reasons = []
    if len(seen.requests) < FEWEST:
        reasons.append(f"{len(seen.requests)} requests are too few to clear anything, of which {FEWEST} are needed")
    right = looked.get("served_truth") is Status.PASS
    if (seen.monitor.startswith(OF_TIME) and not explained) or (seen.monitor in OF_HARM and not right):
        reasons.append(f"the monitor {seen.monitor} opened it, and nothing that was looked at explains that")
    if not explained and not REPLAYED & set(looked):
        reasons.append("no answer could be compared with an offline one: a target that can be asked is needed for that")
    return reasons
