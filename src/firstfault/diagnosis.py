"""The one orchestrator of the ladder: steps are examined in their order, suspicions tested, a verdict concluded."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from firstfault import plugins, progress
from firstfault.check import Depth, RunOn, TargetKind, run_checks
from firstfault.checks.safety import evaluate_safety
from firstfault.errors import Missing, MissingExtra, UserCodeError
from firstfault.finding import LADDER, Layer, LayerReport
from firstfault.ladder import Confirm, Step, walk
from firstfault.output.whole_files import write_json
from firstfault.standing import conclude
from firstfault.subject.fast_path import without_fast_path
from firstfault.subject.subject import Subject
from firstfault.subject.threads import fitting
from firstfault.verdict import Outcome, SubjectKind, Verdict

Look = Callable[[Subject, Depth, str | None], LayerReport | None]
"""How a step is examined: a subject, at a depth, with the submodule that is asked for; None where nothing applies."""


def diagnose(
    subject: Subject,
    depth: Depth,
    *,
    steps: Sequence[Step] | None = None,
    confirm_report: Confirm | None = None,
    keep_going: bool = False,
    only: Layer | None = None,
    kind: SubjectKind = SubjectKind.TARGET,
    left_open: Callable[[Sequence[LayerReport]], Sequence[str]] | None = None,
) -> Verdict:
    """Walk the ladder on a subject, and conclude.

    `steps` are those of a debug run if left out; a watched loop hands in its own, and a flow those that it records.
    `confirm_report` tests what a report is suspected of; left out, by swaps. `left_open` says why layers without a
    fault can't be called healthy, beside what is known of every subject.
    """
    from firstfault.ablation.confirm.confirm import confirm

    started = time.perf_counter()
    steps = steps_of(subject, depth) if steps is None else steps
    chosen = [_prepared(step, subject) for step in steps if only in (None, step.layer)]

    def undo(report: LayerReport) -> Sequence[Outcome]:
        progress.emit(progress.Phase(f"undoing what {report.layer.value} is suspected of"))
        with fitting(subject, Layer.TRAINING):
            return confirm_report(report) if confirm_report is not None else confirm(subject, report)

    found = walk(chosen, undo, keep_going=keep_going)
    progress.emit(progress.Phase("concluding"))
    judged = subject.made(evaluate_safety)
    verdict = conclude(
        subject.target.name,
        found.reports,
        found.faults,
        seconds=time.perf_counter() - started,
        safety=judged.to_json() if judged is not None else None,
        outcomes=found.outcomes,
        subject=kind,
        left_open=left_open(found.reports) if left_open is not None else (),
    )
    verdict = replace(verdict, not_loaded=plugins.refusals())
    progress.emit(progress.Concluded(verdict))
    progress.emit(progress.Phase("pages of the profile"))
    subject.settle()
    return verdict


def _prepared(step: Step, subject: Subject) -> Step:
    """A step that is examined with as many threads as pay for the subject; what is served, as it is served."""

    def examined() -> LayerReport | None:
        looked_into = contextlib.nullcontext() if step.layer is Layer.DEPLOYMENT else without_fast_path()
        with fitting(subject, step.layer), looked_into:
            return step.examine()

    return replace(step, examine=examined)


def steps_of(subject: Subject, depth: Depth, where: str | None = None) -> list[Step]:
    """The steps of a debug run."""
    return [Step(layer, partial(examine, layer, subject, depth, where)) for layer in LOOKS]


def examine(layer: Layer, subject: Subject, depth: Depth, where: str | None = None) -> LayerReport | None:
    """Examine one step; the report is also written to the run's folder at once. None where nothing of safety applies.

    Nothing measured is lost when a later step fails: `layer_<name>.json` stays. `where` names a
    submodule: the model layer then tests it alone.

    Raises:
        TargetError: when there is no such submodule, or a behaviour suite can't be read.
    """
    progress.emit(progress.LayerStarted(layer))
    own = kind_of(subject) is TargetKind.LANGUAGE_MODEL and layer in LADDER
    report = (_checked(layer) if own else LOOKS[layer])(subject, depth, where)
    if report is not None:
        write_json(subject.folder / f"layer_{layer.rank + 1}_{layer.value}.json", report.to_json())
        progress.emit(progress.LayerEnded(report))
    return report


def kind_of(subject: Subject) -> RunOn:
    """The kind of checks that a subject is examined by: a language model has its own, any other target the usual."""
    return SubjectKind.TARGET if subject.target.lm is None else TargetKind.LANGUAGE_MODEL


def _checked(layer: Layer) -> Look:
    """By the checks of the layer alone."""
    return lambda subject, depth, where: run_checks(
        layer, subject, depth, subject.target.thresholds, kind=kind_of(subject)
    )


def _data(subject: Subject, depth: Depth, where: str | None) -> LayerReport:
    """The profile is begun in a process of its own, so that it is done when its check asks for it, if that may ask."""
    if depth.includes(Depth.STANDARD) and "profile_alerts" not in subject.target.mute:
        with contextlib.suppress(Missing, MissingExtra, UserCodeError):
            subject.get("profiling")
    return run_checks(Layer.DATA, subject, depth, subject.target.thresholds)


def _model(subject: Subject, depth: Depth, where: str | None) -> LayerReport:
    """A submodule alone, where one is asked for; at depth deep, failures name the smallest part that still fails."""
    from firstfault.subject.isolation import placed
    from firstfault.subject.submodule import submodule_subject

    if where is not None:
        with contextlib.suppress(Missing, UserCodeError):  # which the checks of the whole model will say
            subject = submodule_subject(subject, where)
    report = run_checks(Layer.MODEL, subject, depth, subject.target.thresholds)
    return placed(report, subject) if depth is Depth.DEEP else report


def _deployment(subject: Subject, depth: Depth, where: str | None) -> LayerReport:
    """MLflow's server is begun in a process of its own, so that it is ready when its check asks it."""
    from firstfault.subject.http_service import beginning_to_serve

    with beginning_to_serve(subject) if depth.includes(Depth.STANDARD) else contextlib.nullcontext():
        return run_checks(Layer.DEPLOYMENT, subject, depth, subject.target.thresholds)


def _safety(subject: Subject, depth: Depth, where: str | None) -> LayerReport | None:
    """The evaluation of the trained model."""
    judged = evaluate_safety(subject)
    return judged.report if judged is not None else None


LOOKS: Mapping[Layer, Look] = {
    Layer.DATA: _data,
    Layer.PREPROCESSING: _checked(Layer.PREPROCESSING),
    Layer.MODEL: _model,
    Layer.TRAINING: _checked(Layer.TRAINING),
    Layer.DEPLOYMENT: _deployment,
    Layer.SAFETY: _safety,
}
"""The steps of a debug run, and how each is examined; whether a step stands in the order is said by `LADDER`."""
