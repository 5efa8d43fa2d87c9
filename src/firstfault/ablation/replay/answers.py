"""A served cut replaced by the offline one: the incident's own requests answered by the training's steps and model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from firstfault.ablation.compare import Comparison, compare
from firstfault.ablation.replay.folds import METRIC, PARTS, over_parts, parts_of, unproven
from firstfault.errors import Missing
from firstfault.finding import Layer, LayerReport
from firstfault.metrics import Array
from firstfault.subject.harm import FEWEST_LABELS, rightness
from firstfault.subject.likeness import likeness
from firstfault.subject.replays import Replays, agreement, differ, flips, known_in_both, replays
from firstfault.subject.subject import Subject
from firstfault.verdict import Outcome, Swap

CHANGES = {
    Layer.PREPROCESSING: "the same requests through the training's steps",
    Layer.MODEL: "the same tensors through the offline model",
    Layer.DEPLOYMENT: "the same requests through the offline model and its labels",
}


def undo_answers(subject: Subject, report: LayerReport, faults: Sequence[str]) -> list[Outcome]:
    """What is suspected between the raw request and its answer, undone by answering it offline."""
    try:
        both = replays(subject)
        _ = both.incident.served, both.incident.replayed
    except Missing as reason:
        return [unproven(fault, str(reason), undecided=False) for fault in faults]
    if both.why_not:
        return [unproven(fault, both.why_not) for fault in faults]
    change = CHANGES[report.layer]
    return [_judged(both, fault, change) for fault in faults]


def _judged(both: Replays, fault: str, change: str) -> Outcome:
    """By the labels that came; where they can't tell, by likeness to the control, then by the answers themselves."""
    for measure in (_by_labels, _by_likeness, _by_agreement):
        found = measure(both)
        if found is None:
            continue
        name, result = found
        swap = Swap(change, name, result.before, result.after, result.seeds, result.p_value, over=PARTS)
        if result.better:
            return Outcome(fault, True, swap)
        if measure is _by_labels and _worse(result):
            return Outcome(fault, False, swap, "the served answers are better than the offline model's would be")
    return Outcome(fault, False, None, "answered offline, the incident's requests get the same answers")


def _worse(result: Comparison) -> bool:
    return result.gain < -0.02 and result.before > result.after + result.noise


def _by_labels(both: Replays) -> tuple[str, Comparison] | None:
    side = both.incident
    given, true = side.served, side.true
    if given.shape != true.shape or side.replayed.shape != true.shape:
        return None
    rows = np.flatnonzero(known_in_both(given, true) & known_in_both(side.replayed, true))
    if len(rows) < FEWEST_LABELS:
        return None
    before, after = (rightness(side.truth, scores[rows], true[rows]) for scores in (given, side.replayed))
    pairs = [(float(before[part].mean()), float(after[part].mean())) for part in parts_of(len(rows))]
    return "right answers", compare([one for one, _ in pairs], [two for _, two in pairs], "accuracy")


def _by_likeness(both: Replays) -> tuple[str, Comparison] | None:
    side, control = both.incident, both.control
    try:
        healthy = control.served if np.isfinite(side.outputs).any() else control.said
    except Missing:
        return None
    before, after = side.served, side.replayed
    if before.shape != after.shape or healthy.shape[1:] != before.shape[1:]:
        return None
    if not np.isfinite(side.outputs).any():  # labels alone: the replay's labels beside them
        after = np.eye(after.shape[1])[np.nan_to_num(after).argmax(1)]

    def score(part: Array) -> tuple[float, float]:
        return likeness(before[part], healthy), likeness(after[part], healthy)

    found = over_parts(len(before), score, METRIC)
    return None if found is None else (METRIC, found)


def _by_agreement(both: Replays) -> tuple[str, Comparison] | None:
    """The share of answers that are the offline model's: what the control has, the incident has lost."""
    side = both.incident
    served, replayed = side.served, side.replayed
    if served.shape != replayed.shape:
        return None
    by_scores = np.isfinite(side.outputs).any()
    wrong = differ(served, replayed) if by_scores else flips(served, replayed)
    said = flips(side.said, replayed) if side.said.shape == replayed.shape else np.zeros(len(wrong), bool)
    wrong = wrong | said
    healthy = agreement(both.control)
    healthy = 1.0 if not np.isfinite(healthy) else healthy

    def score(part: Array) -> tuple[float, float]:
        return float(1 - wrong[part].mean()), healthy

    found = over_parts(len(wrong), score, "answers as the offline model's")
    return None if found is None else ("answers as the offline model's", found)
