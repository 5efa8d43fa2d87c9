"""A cause of slow answers taken away: the seconds of the requests that it did not touch, or without its own share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from firstfault.ablation.replay.alone import undo_alone
from firstfault.ablation.replay.folds import unproven
from firstfault.checks.deployment._latency import Latency, latency_of
from firstfault.checks.deployment._slow_causes import EXPLAINS, causes
from firstfault.finding import LayerReport
from firstfault.metrics import Array
from firstfault.subject.subject import Subject
from firstfault.verdict import Outcome, Swap

METRIC = "share of answers in the control's time"
USUAL = 0.95
"""Of the control's answers that are in time, by their own seconds."""
GROWTH, WITHOUT_SECONDS = "memory_growth", "it stands on the memory that was recorded; no seconds prove it"
FEWEST = 10
"""Requests free of the cause: ten that are all in time are significant where every third was late (p = 0.02)."""


def undo_seconds(subject: Subject, report: LayerReport, faults: Sequence[str]) -> list[Outcome]:
    """What made answers slow, taken away by what was recorded of the same requests."""
    found = latency_of(subject)
    known = {cause.fault: cause for cause in causes(found)}
    return [
        _judged(found, fault, known[fault].change, known[fault].without)
        if fault in known
        else _unexplained(subject, found, fault)
        for fault in faults
    ]


def _unexplained(subject: Subject, found: Latency, fault: str) -> Outcome:
    """What no other request tells: that the code is slow, by the slow requests run again; growth, by nothing."""
    if fault == GROWTH:
        return unproven(fault, WITHOUT_SECONDS, undecided=False)
    return undo_alone(subject, found, fault)


def _judged(found: Latency, fault: str, change: str, without: Array) -> Outcome:
    from scipy.stats import fisher_exact

    known = np.isfinite(without)
    if known.sum() < FEWEST:
        return unproven(fault, "no request of this time was free of it", undecided=False)
    limit = float(np.quantile(found.usual, USUAL))
    before, after = found.seconds <= limit, without[known] <= limit
    table = [[after.sum(), (~after).sum()], [before.sum(), (~before).sum()]]
    p = float(fisher_exact(table, alternative="greater").pvalue)
    swap = Swap(change, METRIC, float(before.mean()), float(after.mean()), int(known.sum()), p, over="requests")
    explained = found.explained(without)
    if p <= 0.05 and explained >= EXPLAINS:
        return Outcome(fault, True, swap, f"{explained:.0%} of the added seconds are gone")
    if fault == GROWTH:  # whose seconds are another matter
        return unproven(fault, WITHOUT_SECONDS, undecided=False)
    return Outcome(fault, False, swap, f"without it, {max(0.0, 1 - explained):.0%} of the added seconds stay")
