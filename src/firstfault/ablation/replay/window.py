"""The champion replaced by one refitted on the incident's window: paired, each sample scored by one that hadn't it."""

from __future__ import annotations

from collections.abc import Sequence

from firstfault.ablation.compare import compare
from firstfault.ablation.replay.folds import PARTS, parts_of, unproven
from firstfault.checks.training._recent_window import window_of
from firstfault.errors import Missing
from firstfault.finding import LayerReport
from firstfault.subject.subject import Subject
from firstfault.verdict import Outcome, Swap


def undo_training(subject: Subject, report: LayerReport, faults: Sequence[str]) -> list[Outcome]:
    """What the training is suspected of, undone by a model that knows the recent window."""
    try:
        window = window_of(subject)
        champion, refitted = window.now, window.refitted
    except Missing as reason:
        return [unproven(fault, str(reason)) for fault in faults]
    pairs = [(float(champion[part].mean()), float(refitted[part].mean())) for part in parts_of(len(champion))]
    metric = "less error" if window.regression else "right answers"
    found = compare([one for one, _ in pairs], [two for _, two in pairs], metric)
    swap = Swap(
        f"a model refitted on {len(champion)} labelled samples of this time",
        metric,
        found.before,
        found.after,
        found.seeds,
        found.p_value,
        over=PARTS,
    )
    if found.better:
        return [Outcome(fault, True, swap) for fault in faults]
    why = "unproven: a model refitted on the recent labels is right no more often, which too few labels can explain"
    return [Outcome(fault, None, swap, why, undecided=True) for fault in faults]
