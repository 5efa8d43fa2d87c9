"""The verdict over a watched loop: rules on its record, checks of its model, tests on a replay or on itself."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial, reduce

from firstfault.check import checks_of, run_check
from firstfault.diagnosis import diagnose, examine
from firstfault.finding import Finding, Layer, LayerReport, Status
from firstfault.ladder import Step
from firstfault.standing import suspected
from firstfault.subject.captured import unlabelled
from firstfault.subject.subject import Subject
from firstfault.verdict import Outcome, SubjectKind, Verdict
from firstfault.watcher.replay_likeness import replay_unlike

SEEN_IN_A_LOOP = (
    "missing_normalisation",
    "target_not_scaled",
    "targets_ahead",
    "labels_of_other_rows",
    "targets_among_inputs",
    "watched_pairs",
    "supervised_in_loop",
)
"""The checks of the preprocessing that a watched loop has something for."""


Prove = Callable[[LayerReport, Sequence[str]], list[Outcome]]
"""Tests some of the suspicions of a report on the user's own loop."""


def judge_watched(subject: Subject, *, swaps: bool = True, prove: Prove | None = None) -> Verdict:
    """The verdict over model and training of a watched loop, and over the scale of its inputs, where that is wrong.

    With `swaps`, suspicions are tested: on a replay of captured batches where that comes out like what was watched, and
    what it doesn't settle by `prove`, on the loop itself.
    """
    stepped = getattr(subject.made(Subject.capture), "optimizer", None) is not None
    replayable = stepped and not (subject.failed(Subject.recipe_and_classes) or subject.failed(Subject.trained))

    def test(report: LayerReport) -> list[Outcome]:
        without_labels = report.layer is Layer.MODEL and bool(unlabelled(subject))
        replayed = _on_replay(subject, report) if swaps and replayable and not without_labels else []
        outcomes = _proven(report, replayed, prove if swaps else None)
        if not without_labels:
            return outcomes
        why_not = str(subject.memos.peek(Subject.recipe_and_classes))
        known = {outcome.fault: outcome for outcome in outcomes}
        return [_left_open(known.get(fault, Outcome(fault, None, reason=why_not))) for fault in suspected(report)]

    steps = [
        Step(Layer.PREPROCESSING, partial(_prepared, subject)),
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


def _on_replay(subject: Subject, report: LayerReport) -> list[Outcome]:
    """The outcomes of swaps on the replay, where it comes out like what was watched."""
    from firstfault.ablation.confirm.confirm import confirm

    why_not = replay_unlike(subject)
    if why_not:
        # a scale that a normalisation may take away convicts nobody: what comes later may be the cause
        open_one = report.layer is Layer.PREPROCESSING
        return [Outcome(fault, None, reason=why_not, undecided=open_one) for fault in suspected(report)]
    return list(confirm(subject, report))


def _proven(report: LayerReport, replayed: Sequence[Outcome], prove: Prove | None) -> list[Outcome]:
    """The outcomes of a replay, and of the loop itself for what that left untested, where nothing was confirmed."""
    settled = {outcome.fault for outcome in replayed if outcome.confirmed is not None}
    left = [fault for fault in suspected(report) if fault not in settled]
    if prove is None or not left or any(outcome.confirmed for outcome in replayed):
        return list(replayed)
    known = {outcome.fault: outcome for outcome in replayed}
    again = {outcome.fault: _joined(known.get(outcome.fault), outcome) for outcome in prove(report, left)}
    return [*again.values(), *(outcome for outcome in replayed if outcome.fault not in again)]


def _joined(replayed: Outcome | None, again: Outcome) -> Outcome:
    """What the loop itself has shown; where it has shown nothing, both reasons."""
    if replayed is None or again.confirmed is not None or again.swap is not None:
        return again
    return replace(replayed, reason="; ".join(filter(None, (replayed.reason, again.reason))))


def _left_open(outcome: Outcome) -> Outcome:
    return replace(outcome, undecided=True) if outcome.confirmed is None else outcome


def _prepared(subject: Subject) -> LayerReport | None:
    """What of the preprocessing shows in a loop: scales not to learn from, labels of other rows; None without any."""
    started = time.perf_counter()
    entries = [entry for entry in checks_of(Layer.PREPROCESSING) if entry.name in SEEN_IN_A_LOOP]
    found = tuple(finding for entry in entries for finding in run_check(entry, subject, {}))
    report = LayerReport(Layer.PREPROCESSING, found, time.perf_counter() - started)
    return report if report.failures else None
