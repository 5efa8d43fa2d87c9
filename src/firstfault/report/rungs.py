"""The ladder as a reader sees it: for every layer where it stands, and why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from firstfault.finding import LADDER, Layer, LayerReport, Status
from firstfault.report.wording import of_status
from firstfault.verdict import Verdict


class Standing(StrEnum):
    """Where a layer stands after a run."""

    SOUND = "sound"
    NOTICED = "noticed"
    FAULTY = "faulty"
    ERROR = "error"
    SUSPECT = "suspect"
    EMPTY = "empty"
    UNREACHED = "unreached"


MARKS = {
    Standing.SOUND: "✓", Standing.NOTICED: "!", Standing.FAULTY: "✗", Standing.ERROR: "E", Standing.SUSPECT: "?",
    Standing.EMPTY: "–", Standing.UNREACHED: "·",
}
STATES = {
    Standing.SOUND: "sound", Standing.NOTICED: "sound, with something to look at", Standing.FAULTY: "faulty",
    Standing.ERROR: "a check crashed", Standing.SUSPECT: "suspect", Standing.EMPTY: "nothing to examine",
    Standing.UNREACHED: "not reached",
}


@dataclass(frozen=True)
class Rung:
    """One layer of the ladder: its report, if it was examined, where it stands, and why in one line."""

    layer: Layer
    report: LayerReport | None
    standing: Standing
    note: str
    stops: bool = False

    @property
    def mark(self) -> str:
        """One character for the standing."""
        return MARKS[self.standing]

    @property
    def state(self) -> str:
        """The standing in words."""
        return STATES[self.standing]


def rungs_of(verdict: Verdict) -> list[Rung]:
    """The five layers in order, then safety where it was judged or could have been."""
    reports = {report.layer: report for report in verdict.layers}
    first = verdict.first_faulty_layer
    last = max((layer.rank for layer in reports if layer in LADDER), default=-1)
    layers = [*LADDER, Layer.SAFETY]
    return [_rung(layer, reports.get(layer), first, stops=layer is first and layer.rank == last) for layer in layers]


def _rung(layer: Layer, report: LayerReport | None, first: Layer | None, stops: bool) -> Rung:
    if report is None:
        return Rung(layer, None, Standing.UNREACHED, _why_unreached(layer, first))
    standing = _standing(report)
    return Rung(layer, report, standing, _note(report, standing), stops and layer is not Layer.DEPLOYMENT)


def _why_unreached(layer: Layer, first: Layer | None) -> str:
    if first is not None and first.rank < layer.rank:
        return f"not reached: with {first.value} at fault, what lies above it can't be judged"
    return "not examined in this run"


def _standing(report: LayerReport) -> Standing:
    if report.suspect:
        return Standing.SUSPECT
    return {
        Status.PASS: Standing.SOUND, Status.WARN: Standing.NOTICED, Status.FAIL: Standing.FAULTY,
        Status.ERROR: Standing.ERROR, Status.SKIPPED: Standing.EMPTY,
    }[report.status]


def _note(report: LayerReport, standing: Standing) -> str:
    bad = of_status(report, Status.FAIL, Status.ERROR, Status.WARN)
    if standing is Standing.SUSPECT:
        return "suspect: a layer below it is at fault" + (f"; {bad[0].message}" if bad else "")
    if bad:
        return bad[0].message
    skipped = of_status(report, Status.SKIPPED)
    if standing is Standing.EMPTY:
        return skipped[0].message if skipped else "no check applies to this target"
    return "nothing wrong found"
