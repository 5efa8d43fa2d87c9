"""The champion replaced by one refitted on the incident's window: paired, each sample scored by one that hadn't it."""

from __future__ import annotations

from collections.abc import Sequence

from firstfault.ablation.compare import compare
from firstfault.ablation.replay.folds import PARTS, parts_of, unproven
from firstfault.checks.training._recent_window import SQUARED, window_of
from firstfault.errors import Missing
from firstfault.finding import LayerReport
from firstfault.metrics import Array
from firstfault.subject.subject import Subject
from firstfault.verdict import Outcome, Swap


def undo_training(subject: Subject, report: LayerReport, faults: Sequence[str]) -> list[Outcome]:
    """What the training is suspected of, undone by a model that knows the recent window."""
    try:
        tried = [_swap(*measure) for measure in window_of(subject).measures]
    except Missing as reason:
        return [unproven(fault, str(reason)) for fault in faults]
    for swap, better in tried:
        if better:
            return [Outcome(fault, True, swap) for fault in faults]
    why = "unproven: a model refitted on the recent labels does no better, which too few labels can explain"
    return [Outcome(fault, None, tried[0][0], why, undecided=True) for fault in faults]


def _swap(metric: str, champion: Array, refitted: Array) -> tuple[Swap, bool]:
    pairs = [(float(champion[part].mean()), float(refitted[part].mean())) for part in parts_of(len(champion))]
    found = compare([one for one, _ in pairs], [two for _, two in pairs], "mse" if metric == SQUARED else metric)
    change = f"a model refitted on {len(champion)} labelled samples of this time"
    return Swap(
        change, metric, abs(found.before), abs(found.after), found.seeds, found.p_value, over=PARTS
    ), found.better
