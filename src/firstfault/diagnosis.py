"""The one orchestrator of the ladder: layers are examined in their order, suspicions tested, a verdict concluded."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from firstfault import progress
from firstfault.check import Depth, run_checks
from firstfault.errors import Missing, MissingExtra, UserCodeError
from firstfault.finding import LADDER, Layer, LayerReport
from firstfault.ladder import walk
from firstfault.output.whole_files import write_json
from firstfault.subject.subject import Subject
from firstfault.verdict import Outcome, Verdict, conclude


def examine(layer: Layer, subject: Subject, depth: Depth, where: str | None = None) -> LayerReport:
    """Run the checks of one layer; the report is also written to the run's folder at once.

    Nothing measured is lost when a later step fails: `layer_<name>.json` stays. `where` names a
    submodule: the model layer then tests it alone.

    Raises:
        TargetError: when there is no such submodule.
    """
    progress.emit(progress.LayerStarted(layer))
    if layer is Layer.DATA and depth.includes(Depth.STANDARD):
        _begin(subject, "profiling")
    report = _run(layer, subject, depth, where if layer is Layer.MODEL else None)
    path = subject.folder / f"layer_{layer.rank + 1}_{layer.value}.json"
    write_json(path, report.to_json())
    progress.emit(progress.LayerEnded(report))
    return report


def _run(layer: Layer, subject: Subject, depth: Depth, where: str | None) -> LayerReport:
    from firstfault.subject.isolation import placed
    from firstfault.subject.submodule import submodule_subject

    if where is not None:
        with contextlib.suppress(Missing, UserCodeError):       # which the checks of the whole model will say
            subject = submodule_subject(subject, where)
    report = run_checks(layer, subject, depth, subject.target.thresholds)
    return placed(report, subject) if layer is Layer.MODEL and depth is Depth.DEEP else report


def _begin(subject: Subject, part: str) -> None:
    """Begin long work in a process of its own, so that it is done when its check asks for it."""
    with contextlib.suppress(Missing, MissingExtra, UserCodeError):
        subject.get(part)


def diagnose(
    subject: Subject,
    depth: Depth,
    *,
    keep_going: bool = False,
    only: Layer | None = None,
    examine_layer: Callable[[Layer], LayerReport] | None = None,
    confirm_report: Callable[[LayerReport], Sequence[Outcome]] | None = None,
    evaluate: Callable[[], Any] | None = None,
) -> Verdict:
    """Walk the ladder on a subject, judge safety on a sound model, and conclude.

    The callables are the steps to use; a flow hands in its tasks. Left out, the checks run bare:
    no Prefect, no MLflow.
    """
    from firstfault.ablation.confirm.confirm import confirm

    started = time.perf_counter()
    found = walk(
        examine_layer or (lambda layer: examine(layer, subject, depth)),
        confirm_report or (lambda report: confirm(subject, report)),
        keep_going=keep_going,
        layers=[layer for layer in LADDER if only in (None, layer)],
    )
    reports, faults = list(found.reports), list(found.faults)
    safety = None
    if only in (None, Layer.SAFETY) and (not faults or keep_going):
        judged = (evaluate or (lambda: judge_safety(subject)))()
        if judged is not None:
            from firstfault.verdict import standing_faults

            reports.append(judged.report)
            safety = judged.to_json()
            faults += standing_faults(judged.report, [])
    subject.settle()
    return conclude(
        subject.target.name, reports, faults,
        seconds=time.perf_counter() - started, safety=safety, outcomes=found.outcomes,
    )


def judge_safety(subject: Subject) -> Any:
    """The safety evaluation of the trained model, with its report written to the run's folder."""
    from firstfault.checks.safety import evaluate_safety

    progress.emit(progress.LayerStarted(Layer.SAFETY))
    judged = evaluate_safety(subject)
    if judged is not None:
        progress.emit(progress.LayerEnded(judged.report))
    return judged
