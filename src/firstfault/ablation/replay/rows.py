"""Samples of an incident taken away, or replaced by the control's: what is left answers as it did, or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from firstfault.ablation.replay.folds import METRIC, outcome, over_parts, unproven
from firstfault.checks.data.served_texts import odd_texts, texts_of
from firstfault.errors import Missing
from firstfault.finding import LayerReport
from firstfault.metrics import Array
from firstfault.subject.replays import Side, likeness, replays
from firstfault.subject.subject import Subject
from firstfault.verdict import Outcome


def undo_rows(subject: Subject, report: LayerReport, faults: Sequence[str]) -> list[Outcome]:
    """Rows that should not be there, replaced by what the control was asked."""
    try:
        both = replays(subject)
        replayed, healthy = both.incident.replayed, both.control.replayed
    except Missing as reason:
        return [unproven(fault, str(reason), undecided=False) for fault in faults]
    if both.why_not:
        return [unproven(fault, both.why_not, undecided=False) for fault in faults]
    own = likeness(healthy[::2], healthy[1::2])
    return [
        _undone(both.incident, fault, _odd(subject, both.incident, fault), replayed, healthy, own) for fault in faults
    ]


def _odd(subject: Subject, side: Side, fault: str) -> Array:
    if fault == "duplicate_rows":
        return _again([request.hashes.get("raw", request.id) for request, _ in side.samples])
    _, _, odd = odd_texts(subject)
    return np.array([any(text in odd for text in texts_of([value])) for value in side.raw], dtype=bool)


def _again(keys: Sequence[Any]) -> Array:
    seen: set[Any] = set()
    found = []
    for key in keys:
        found.append(key in seen)
        seen.add(key)
    return np.array(found, dtype=bool)


def _undone(side: Side, fault: str, odd: Array, before: Array, healthy: Array, own: float) -> Outcome:
    """The rows dropped; over parts of the time, what is left against the control."""
    if not odd.any() or odd.all():
        return unproven(fault, "none of the requests is free of it", undecided=False)
    change = f"{int(odd.sum())} of {len(side)} samples left out"

    def score(part: Array) -> tuple[float, float]:
        return likeness(before[part], healthy), likeness(before[part[~odd[part]]], healthy)

    return outcome(fault, change, over_parts(len(side), score, METRIC), METRIC, own)
