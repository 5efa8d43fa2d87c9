"""The verdict over a watched loop: rules on its record, checks of its model, and swaps on a replay of what was captured."""

from __future__ import annotations

import time
import warnings
from functools import partial, reduce

from firstfault.check import checks_of, run_check
from firstfault.diagnosis import diagnose, examine
from firstfault.finding import Finding, Layer, LayerReport, Status
from firstfault.ladder import Step
from firstfault.subject.captured import unlabelled
from firstfault.subject.subject import Subject
from firstfault.verdict import Outcome, SubjectKind, Verdict, suspected

OF_SCALES = "missing_normalisation"


def judge_watched(subject: Subject, *, swaps: bool = True) -> Verdict:
    """The verdict over the model and training layers of a watched loop, and over the scale of its inputs, where that is wrong."""
    from firstfault.ablation.confirm.confirm import confirm

    stepped = getattr(subject.made(Subject.capture), "optimizer", None) is not None
    replayable = stepped and not (subject.failed(Subject.recipe_and_classes) or subject.failed(Subject.trained))

    def test(report: LayerReport) -> list[Outcome]:
        if report.layer is Layer.MODEL and unlabelled(subject):
            why_not = str(subject.memos.peek(Subject.recipe_and_classes))
            return [Outcome(fault, None, reason=why_not, undecided=True) for fault in suspected(report)]
        return list(confirm(subject, report)) if swaps and replayable else []

    steps = [
        *([Step(Layer.PREPROCESSING, partial(_scales, subject))] if replayable else []),
        Step(Layer.MODEL, partial(_models, subject)),
        Step(Layer.TRAINING, partial(examine, Layer.TRAINING, subject, subject.depth)),
    ]
    with warnings.catch_warnings():  # the script has given its own
        warnings.simplefilter("ignore")
        return diagnose(subject, subject.depth, steps=steps, confirm_report=test, kind=SubjectKind.WATCHED)


def _models(subject: Subject) -> LayerReport | None:
    """The model, or each of several."""
    models = unlabelled(subject) or (subject,)
    if models[0] is not subject:  # what the loop was seen to do is told once
        models[0].supply(Subject.record, subject.record)
    reports = [examine(Layer.MODEL, each, subject.depth) for each in models]
    known = [report for report in reports if report is not None]
    return reduce(_with, known) if known else None


def _with(report: LayerReport, other: LayerReport) -> LayerReport:
    """Two models' findings as one report: of a check, what is bad of any, else the first that could look."""
    findings: list[Finding] = []
    for name in dict.fromkeys(finding.check for finding in (*report.findings, *other.findings)):
        found = [finding for finding in (*report.findings, *other.findings) if finding.check == name]
        bad = [finding for finding in found if finding.status in (Status.FAIL, Status.WARN, Status.ERROR)]
        looked = [finding for finding in found if finding.status is not Status.SKIPPED]
        findings += bad or (looked or found)[:1]
    return LayerReport(report.layer, tuple(findings), report.seconds + other.seconds)


def _scales(subject: Subject) -> LayerReport | None:
    """What of the preprocessing shows in captured batches: whether they are on a scale to learn from; None where they are."""
    started = time.perf_counter()
    entries = [entry for entry in checks_of(Layer.PREPROCESSING) if entry.name == OF_SCALES]
    found = tuple(finding for entry in entries for finding in run_check(entry, subject, {}))
    report = LayerReport(Layer.PREPROCESSING, found, time.perf_counter() - started)
    return report if report.failures else None
