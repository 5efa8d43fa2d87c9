"""The debug order: layer by layer from the data up, stopping at the first that is proven faulty."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from firstfault.finding import LADDER, Layer, LayerReport
from firstfault.verdict import Fault, Outcome, leave_open, settle, standing_faults


@dataclass(frozen=True)
class Walk:
    """What the walk up the ladder found: a report per layer, the tests of suspicions, the faults that stand."""

    reports: tuple[LayerReport, ...]
    outcomes: tuple[Outcome, ...]
    faults: tuple[Fault, ...]


def walk(
    examine: Callable[[Layer], LayerReport],
    confirm: Callable[[LayerReport], Sequence[Outcome]],
    *,
    keep_going: bool = False,
    layers: Sequence[Layer] = LADDER,
) -> Walk:
    """Examine the layers in their order; test what a failed one is suspected of, and stop when a fault stands.

    A layer whose suspicions are all refuted counts as sound: the walk goes on. It goes on as well where a suspicion
    could not be tested and is too weak to stand: its failure is kept, unless a later layer is found at fault. With
    `keep_going`, it goes on after a fault too, and marks the later reports as suspect. Ranked: faults of the first
    faulty layer, then those of later ones.
    """
    reports: list[LayerReport] = []
    undecided: list[int] = []
    outcomes: list[Outcome] = []
    faults: list[Fault] = []
    for layer in layers:
        report, found, suspect = examine(layer), list[Fault](), bool(faults)
        if report.failures:
            tested = list(confirm(report))
            outcomes += tested
            found = standing_faults(report, tested)
            faults += [fault for fault in found if fault.fault not in {known.fault for known in faults}]
            undecided += [] if found else [len(reports)]
            report = report if found else settle(report, tested)
        reports.append(replace(report, suspect=suspect))
        if found and not keep_going:
            break
    if faults:
        reports = [leave_open(report) if place in undecided else report for place, report in enumerate(reports)]
    return Walk(tuple(reports), tuple(outcomes), tuple(faults))
