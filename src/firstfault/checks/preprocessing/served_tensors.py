"""Checks of how an incident's requests were prepared: the served tensors against those of the training's steps."""

from __future__ import annotations

from collections.abc import Iterator

from firstfault.check import check
from firstfault.checks.preprocessing._served_skew import Skew, skew_of
from firstfault.finding import Layer, Status
from firstfault.judgement import Judgement, passed, skipped
from firstfault.place import Kind, Place
from firstfault.subject.incident import incident
from firstfault.subject.subject import Subject
from firstfault.verdict import SubjectKind

FIXES = {
    "missing_normalisation": "send requests through the training's fitted steps",
    "train_serve_skew": "load the fitted steps that were saved with the model",
}


@check(
    layer=Layer.PREPROCESSING,
    needs={incident, skew_of},
    detects={
        "train_serve_skew": 0.8,
        "missing_normalisation": 0.8,
        "tokenizer_mismatch": 0.8,
        "schema_mismatch": 0.8,
        "batch_dependence": 0.8,
    },
    kind=SubjectKind.INCIDENT,
)
def served_tensors(subject: Subject, *, share: float = 0.05, tolerance: float = 0.01) -> Iterator[Judgement]:
    """Find requests that were prepared otherwise than the training's fitted steps prepare them.

    Measures: for each column of the tensors, the share of samples that differ by more than `tolerance` deviations from
        what the training's steps make of the same raw request, less that of the control; then which step's output, or
        which map of the right tensor, the served one is.
    Fails when: in some column, it is above `share`.
    Not a fault when: the control differs as much: what was served has always been prepared so.
    Source: Polyzotis et al. 2017, Data Management Challenges in Production Machine Learning, training-serving skew.
    """
    found = skew_of(subject)
    wrong = found.columns(share, tolerance)
    if found.control_share(tolerance) > 0.5:
        yield skipped("the control's tensors differ from those of the training's steps as well")
        return
    if not wrong:
        yield passed("raw requests give the served tensors when they go through the training's steps")
        return
    yield _judged(found, wrong, tolerance)


def _judged(found: Skew, wrong: list[int], tolerance: float) -> Judgement:
    fault, told = found.explained(wrong)
    share = found.share(tolerance)
    names = [found.names[place] for place in wrong]
    where = Place(Kind.COLUMN, tuple(names), note=f"after {found.step}" if found.step else None)
    message = f"{share:.0%} of the served tensors are not what the training's steps make of the same requests: {told}"
    return Judgement(Status.FAIL, message, share, where=where, faults={fault: 0.8}, fix=FIXES.get(fault))
