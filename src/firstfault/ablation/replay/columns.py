"""A column of the incident's requests put back: the rows go through the offline truth again, with it and without."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from firstfault.ablation.compare import Comparison
from firstfault.ablation.replay.folds import METRIC, outcome, over_parts, unproven
from firstfault.ablation.replay.rows import undo_rows
from firstfault.checks.data._column_marks import Mark, put_back
from firstfault.checks.data._served_marks import marks_of
from firstfault.errors import Missing
from firstfault.finding import LayerReport
from firstfault.metrics import Array
from firstfault.subject.harm import FEWEST_LABELS, harm, rightness
from firstfault.subject.likeness import likeness
from firstfault.subject.replays import Replays, Side, replays
from firstfault.subject.subject import Subject
from firstfault.verdict import Outcome

CHANGED = "answers as with the column put back"
MATERIAL = 0.05
"""A score that moves by less leaves the answer as it was."""
ONE_BY_ONE = 40
"""Columns that are undone one by one; the strongest marks come first."""


def undo_columns(subject: Subject, report: LayerReport, faults: Sequence[str]) -> list[Outcome]:
    """Each suspicion of the data undone: the columns that bear its mark put back, and the requests replayed."""
    try:
        both = replays(subject)
        _ = both.control.replayed
    except Missing as reason:
        return [_open(subject, fault, str(reason)) for fault in faults]
    if both.why_not:
        return [_open(subject, fault, both.why_not) for fault in faults]
    leading = {mark.fault for mark in marks_of(subject)}
    if not leading:
        return undo_rows(subject, report, faults)
    tested = {fault: _undone(subject, both, fault, _about(subject, fault)) for fault in faults if fault in leading}
    return [tested[fault] if fault in tested else _second(subject, fault, tested) for fault in faults]


def _second(subject: Subject, fault: str, tested: Mapping[str, Outcome]) -> Outcome:
    """A fault that only explains the marks of another one too: it falls with it, and is not told beside it."""
    others = {mark.fault for mark in marks_of(subject) if fault in mark.faults} & set(tested)
    if others and all(tested[other].confirmed is False for other in others):
        first = tested[min(others)]
        return Outcome(fault, False, first.swap, first.reason)
    return unproven(fault, f"its columns bear the marks of {', '.join(sorted(others))}")


def _about(subject: Subject, fault: str) -> list[Mark]:
    """The marks that are evidence for a fault in the first place."""
    return [mark for mark in marks_of(subject) if mark.fault == fault][:ONE_BY_ONE]


def _open(subject: Subject, fault: str, why: str) -> Outcome:
    """Untested: what no healthy traffic leaves behind stands unproven; the rest stays open."""
    about = _about(subject, fault)
    certain = not about or any(mark.certain and mark.faults[fault] >= 0.8 for mark in about)
    return unproven(fault, why, undecided=not certain)


def _undone(subject: Subject, both: Replays, fault: str, marks: Sequence[Mark]) -> Outcome:
    if not marks:
        return unproven(fault, "nothing of it can be undone on the requests")
    tried = [(mark, _one(both, fault, [mark])) for mark in marks]
    helped = [mark for mark, found in tried if found.confirmed]
    if len(marks) > 1 and len(helped) != 1:
        together = _one(both, fault, helped or marks)
        return _weighed(subject, marks, together)
    best = next((found for _, found in tried if found.confirmed), tried[0][1])
    return _weighed(subject, helped or marks, best)


def _weighed(subject: Subject, marks: Sequence[Mark], found: Outcome) -> Outcome:
    """An answer that moves with its inputs is a fault only where it is worse, unless the mark is no healthy one."""
    if not found.confirmed or any(mark.certain for mark in marks):
        return found
    seen = harm(subject)
    if seen.worse:
        return found
    return Outcome(
        found.fault,
        None,
        found.swap,
        f"the answers follow the moved columns, and nothing says that they are worse: {seen.message}",
        undecided=True,
    )


def _one(both: Replays, fault: str, marks: Sequence[Mark]) -> Outcome:
    """By the labels that came; where they can't tell, by likeness to the control, then by the answers themselves."""
    incident, control = both.incident, both.control
    try:
        before = _before(incident, marks)
        after = scores_put_back(incident, marks)
    except Missing as reason:
        return unproven(fault, str(reason))
    change = f"{', '.join(mark.column for mark in marks[:4])} put back, and {len(incident)} samples replayed"
    tried = [
        outcome(fault, change, found, name, healthy)
        for name, found, healthy in _measures(incident, before, after, control.replayed, marks)
    ]
    known = [found for found in tried if found.confirmed is not None]
    return next((found for found in tried if found.confirmed), known[0] if known else tried[0])


Measured = tuple[str, Comparison | None, float | None]


def _measures(incident: Side, before: Array, after: Array, control: Array, marks: Sequence[Mark]) -> Iterator[Measured]:
    first, second, rows = _far(before), _far(after), len(incident)
    yield METRIC, over_parts(rows, lambda part: _likenesses(first, second, control, part)), _own(control)
    true = incident.true
    if true.shape == before.shape and np.isfinite(true).all(1).sum() >= FEWEST_LABELS:
        labelled = np.flatnonzero(np.isfinite(true).all(1))
        rights = [rightness(incident.truth, scores, true)[labelled] for scores in (first, second)]
        found = over_parts(len(labelled), lambda part: (float(rights[0][part].mean()), float(rights[1][part].mean())))
        yield "right answers", found, None
    if all(mark.certain for mark in marks):
        changed = np.abs(first - second).max(1) > MATERIAL
        yield CHANGED, over_parts(rows, lambda part: (float(1 - changed[part].mean()), 1.0)), None


def _far(scores: Array) -> Array:
    """Scores in which an answer that the model can't give is unlike every other."""
    return np.where(np.isfinite(scores), scores, -1.0)


def _before(incident: Side, marks: Sequence[Mark]) -> Array:
    """What was served, where the training's steps forgive what serving does not; else the replay as it came."""
    served = incident.served if any(mark.tolerated for mark in marks) else None
    if served is not None and np.isfinite(served).all(1).any():
        return served
    return incident.replayed


def scores_put_back(incident: Side, marks: Sequence[Mark]) -> Array:
    """The scores that the offline truth gives to the incident's samples with their marked columns put back.

    Raises:
        Missing: when nothing can be replayed.
    """
    generator = np.random.default_rng(0)
    rows = [put_back(value, marks, generator) for value in incident.raw]
    return incident.answers(incident.scattered(rows, incident.truth.prepared))


def _likenesses(before: Array, after: Array, control: Array, part: Array) -> tuple[float, float]:
    return likeness(before[part], control), likeness(after[part], control)


def _own(scores: Array) -> float:
    """How alike two halves of the control are."""
    return likeness(scores[::2], scores[1::2])
