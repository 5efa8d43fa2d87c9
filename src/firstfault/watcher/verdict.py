"""The verdict over a watched loop: rules on its record, checks of its model, and swaps on a replay of what was captured."""

from __future__ import annotations

import time

from firstfault.check import checks_of, run_check
from firstfault.finding import Layer, LayerReport
from firstfault.ladder import walk
from firstfault.subject.captured import unlabelled
from firstfault.subject.subject import Subject
from firstfault.verdict import Outcome, SubjectKind, Verdict, conclude, suspected

LAYERS = (Layer.MODEL, Layer.TRAINING)
OF_SCALES = "missing_normalisation"


def _scales(subject: Subject) -> LayerReport:
    """Whether the captured batches are on a scale to learn from: what of the preprocessing shows in them."""
    started = time.perf_counter()
    entries = [entry for entry in checks_of(Layer.PREPROCESSING) if entry.name == OF_SCALES]
    found = tuple(finding for entry in entries for finding in run_check(entry, subject, {}))
    return LayerReport(Layer.PREPROCESSING, found, time.perf_counter() - started)


def judge_watched(subject: Subject, *, swaps: bool = True) -> Verdict:
    """The verdict over the model and training layers of a watched loop, and over the scale of its inputs, where that is wrong."""
    from firstfault.ablation.confirm.confirm import confirm
    from firstfault.diagnosis import examine

    started = time.perf_counter()
    stepped = getattr(subject.made(Subject.capture), "optimizer", None) is not None
    replayable = stepped and not (subject.failed(Subject.recipe_and_classes) or subject.failed(Subject.trained))

    def test(report: LayerReport) -> list[Outcome]:
        if report.layer is Layer.MODEL and unlabelled(subject) is not None:
            why_not = str(subject.memos.peek(Subject.recipe_and_classes))
            return [Outcome(fault, None, reason=why_not, undecided=True) for fault in suspected(report)]
        return list(confirm(subject, report)) if swaps and replayable else []

    scales = _scales(subject) if replayable else None
    layers = (Layer.PREPROCESSING, *LAYERS) if scales is not None and scales.failures else LAYERS

    def look(layer: Layer) -> LayerReport:
        if layer is Layer.PREPROCESSING and scales is not None:
            return scales
        alone = unlabelled(subject) if layer is Layer.MODEL else None
        return examine(layer, alone or subject, subject.depth)

    found = walk(look, test, layers=layers)
    return conclude(
        subject.target.name, list(found.reports), list(found.faults), seconds=time.perf_counter() - started, outcomes=found.outcomes,
        subject=SubjectKind.WATCHED,
    )
