"""The debug order: layer by layer from the data up, stopping at the first that is proven faulty."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from firstfault.finding import LADDER, Layer, LayerReport
from firstfault.verdict import Fault, Outcome, soften, standing_faults


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

    A layer whose suspicions are all refuted counts as sound: the walk goes on. With `keep_going`, it
    goes on after a fault too, and marks the later reports as suspect. Ranked: faults of the first
    faulty layer, then those of later ones.
    """
    reports: list[LayerReport] = []
    outcomes: list[Outcome] = []
    faults: list[Fault] = []
    for layer in layers:
        report = examine(layer)
        if report.failures:
            tested = list(confirm(report))
            outcomes += tested
            found = standing_faults(report, tested)
            faults += [fault for fault in found if fault.fault not in {known.fault for known in faults}]
            report = report if found else soften(report)
        suspect = any(earlier.failures for earlier in reports)
        reports.append(replace(report, suspect=suspect))
        if report.failures and not keep_going:
            break
    return Walk(tuple(reports), tuple(outcomes), tuple(faults))
