"""The debug order: step by step from the data up, stopping at the first layer that is proven faulty."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from firstfault.finding import LADDER, Layer, LayerReport
from firstfault.standing import leave_open, may_follow, settle, standing_faults
from firstfault.verdict import Fault, Outcome

Confirm = Callable[[LayerReport], Sequence[Outcome]]


@dataclass(frozen=True)
class Step:
    """What a walk examines: a layer, and how that is done. `examine` gives None where there is nothing to say of it."""

    layer: Layer
    examine: Callable[[], LayerReport | None]
    tested: bool = False
    """Whether what it suspects is tested though it lies outside of the order, as where an incident is replayed."""

    @property
    def in_order(self) -> bool:
        """Whether the walk stops at a fault of it; what is outside of the order is judged once the order is sound."""
        return self.layer in LADDER


@dataclass(frozen=True)
class Walk:
    """What the walk up the ladder found: a report per layer, the tests of suspicions, the faults that stand."""

    reports: tuple[LayerReport, ...]
    outcomes: tuple[Outcome, ...]
    faults: tuple[Fault, ...]


def walk(steps: Sequence[Step], confirm: Confirm, *, keep_going: bool = False) -> Walk:
    """Examine the steps in their order; test what a failed layer is suspected of, and stop when a fault stands.

    A layer whose suspicions are all refuted counts as sound: the walk goes on. It goes on as well where a suspicion
    could not be tested and is too weak to stand: its failure is kept, unless a later layer is found at fault, by more
    than what it may have brought about: symptoms, and where it is suspected of a cause, what is not certain either.
    With `keep_going`, it goes on after a fault too, and marks the later
    reports as suspect. Ranked: faults of the first faulty layer, then those of later ones. Steps outside of the order
    come last, where no fault stands, or with `keep_going`; what they find stands by itself, since no swap undoes it.
    """
    found = _walk_order([step for step in steps if step.in_order], confirm, keep_going)
    if found.faults and not keep_going:
        return found
    beside, outcomes, faults = list[LayerReport](), list(found.outcomes), list(found.faults)
    for step in steps:
        if step.in_order or (report := step.examine()) is None:
            continue
        tested = list(confirm(report)) if step.tested and report.failures else []
        standing = standing_faults(report, tested)
        beside.append(report if standing or not tested else settle(report, tested))
        outcomes += tested
        faults += standing
    return Walk((*found.reports, *beside), tuple(outcomes), tuple(faults))


def _walk_order(steps: Sequence[Step], confirm: Confirm, keep_going: bool) -> Walk:
    reports: list[LayerReport] = []
    undecided: list[int] = []
    outcomes: list[Outcome] = []
    faults: list[Fault] = []
    for step in steps:
        report, found, suspect = step.examine(), list[Fault](), bool(faults)
        if report is None:
            continue
        if report.failures:
            tested = list(confirm(report))
            outcomes += tested
            found = standing_faults(report, tested)
            if undecided and all(may_follow(fault, [reports[place] for place in undecided]) for fault in found):
                found = []
            faults += [fault for fault in found if fault.fault not in {known.fault for known in faults}]
            undecided += [] if found else [len(reports)]
            report = report if found else settle(report, tested)
        reports.append(replace(report, suspect=suspect))
        if found and not keep_going:
            break
    if faults:
        reports = [leave_open(report) if place in undecided else report for place, report in enumerate(reports)]
    return Walk(tuple(reports), tuple(outcomes), tuple(faults))
