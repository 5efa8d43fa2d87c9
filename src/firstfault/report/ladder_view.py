"""The ladder as a reader sees it: for every layer where it stands, and why."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from firstfault.finding import LADDER, Layer, LayerReport, Status
from firstfault.report.formatting import of_status
from firstfault.verdict import Verdict


class Standing(StrEnum):
    """Where a layer stands after a run."""

    SOUND = "sound"
    NOTICED = "noticed"
    FAULTY = "faulty"
    UNDECIDED = "undecided"
    ERROR = "error"
    SUSPECT = "suspect"
    EMPTY = "empty"
    UNREACHED = "unreached"
    LEFT_OUT = "left_out"


MARKS = {
    Standing.SOUND: "✓",
    Standing.NOTICED: "!",
    Standing.FAULTY: "✗",
    Standing.UNDECIDED: "?",
    Standing.ERROR: "E",
    Standing.SUSPECT: "?",
    Standing.EMPTY: "–",
    Standing.UNREACHED: "·",
    Standing.LEFT_OUT: "·",
}
STATES = {
    Standing.SOUND: "sound",
    Standing.NOTICED: "sound, with remarks",
    Standing.FAULTY: "faulty",
    Standing.UNDECIDED: "undecided",
    Standing.ERROR: "a check crashed",
    Standing.SUSPECT: "suspect",
    Standing.EMPTY: "nothing to examine",
    Standing.UNREACHED: "not reached",
    Standing.LEFT_OUT: "not examined",
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
    """The layers in their order, then what is judged outside of it: safety."""
    reports = {report.layer: report for report in verdict.layers}
    first = verdict.first_faulty_layer
    last = max((layer.rank for layer in reports if layer in LADDER), default=-1)
    rungs = [_rung(layer, reports.get(layer), first, stops=layer is first and layer.rank == last) for layer in Layer]
    return [_once(rung, earlier) for rung, earlier in zip(rungs, [None, *rungs], strict=False)]


def _once(rung: Rung, earlier: Rung | None) -> Rung:
    """The rung without its note, if it is not reached for the same reason as the one before it."""
    repeated = rung.report is None and earlier is not None and earlier.note == rung.note
    return replace(rung, note="") if repeated else rung


def _rung(layer: Layer, report: LayerReport | None, first: Layer | None, stops: bool) -> Rung:
    if report is None:
        return _unexamined(layer, first)
    standing = _standing(report, first)
    return Rung(layer, report, standing, _note(report, standing), stops and layer is not Layer.DEPLOYMENT)


def _unexamined(layer: Layer, first: Layer | None) -> Rung:
    if first is not None and first.rank < layer.rank:
        return Rung(
            layer, None, Standing.UNREACHED, f"with {first.value} at fault, what is built on it can't be judged yet"
        )
    return Rung(layer, None, Standing.LEFT_OUT, "")


def _standing(report: LayerReport, first: Layer | None) -> Standing:
    if report.suspect:
        return Standing.SUSPECT
    if report.status is Status.FAIL and first is None:
        return Standing.UNDECIDED
    return {
        Status.PASS: Standing.SOUND,
        Status.WARN: Standing.NOTICED,
        Status.FAIL: Standing.FAULTY,
        Status.ERROR: Standing.ERROR,
        Status.SKIPPED: Standing.EMPTY,
    }[report.status]


def _note(report: LayerReport, standing: Standing) -> str:
    bad = of_status(report, Status.FAIL, Status.ERROR, Status.WARN)
    if standing is Standing.SUSPECT:
        return "an earlier layer is at fault" + (f"; {bad[0].message}" if bad else "")
    if bad:
        return bad[0].message
    skipped = of_status(report, Status.SKIPPED)
    if standing is Standing.EMPTY:
        return skipped[0].message if skipped else "no check applies to this target"
    return "nothing wrong found"
