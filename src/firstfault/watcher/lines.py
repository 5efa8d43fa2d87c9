"""Puts the lines of the user's code that would be changed on the faults and findings of a watched loop."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from firstfault.finding import Finding, Layer, LayerReport, Status
from firstfault.place import OUTPUT_LAYER, Kind, Place
from firstfault.probe import source
from firstfault.probe.code_lines import CodeLines, raising_line
from firstfault.probe.record import Record
from firstfault.verdict import Change, Fault, Verdict
from firstfault.watcher.changes import change_of

OF_STEPS, OF_LOADING, OF_LOSS = ("optimizer", "step"), ("loader", "backward"), ("loss", "backward")
OF_PAIRS = ("loader", *OF_LOSS)
PARTS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("learning_rate_too_high", "learning_rate_too_low", "wrong_optimizer", "over_regularised"), OF_STEPS
    ),
    "parameters_not_in_optimizer": OF_STEPS,
    "missing_zero_grad": ("backward", "step"),
    "scheduler_misuse": ("scheduler", *OF_STEPS),
    "gradient_clipped_away": ("clipping", "step"),
    **dict.fromkeys(("no_shuffle", "batch_size_too_large", "batch_size_too_small", "input_bottleneck"), OF_LOADING),
    "missing_normalisation": OF_LOADING,
    **dict.fromkeys(("misaligned_labels", "random_labels", "target_leakage"), OF_PAIRS),
    "missing_eval_mode": ("validation", "backward"),
    **dict.fromkeys(("wrong_loss", "wrong_loss_reduction"), ("criterion", *OF_LOSS)),
    **dict.fromkeys(("flipped_loss_sign", "output_shape_mismatch", "redundant_softmax", "nonfinite_loss"), OF_LOSS),
    "missing_output_activation": OF_LOSS,
}
"""By fault, the parts of a training in whose lines it would be mended, the likeliest first."""
OF_THE_LOOP = ("backward", "step", "optimizer")
RATES = ("lr", "learning_rate")
NAMED = (Kind.MODULE, Kind.PARAMETER)


class Located:
    """The lines of one watched training; `home` is the folder that paths are relative to, `crash` what ended it."""

    def __init__(self, record: Record, lines: CodeLines, crash: BaseException | None, home: Path) -> None:
        self._record, self._lines, self._crash, self._home = record, lines, crash, home

    def verdict(self, verdict: Verdict) -> Verdict:
        """The verdict with a line for every fault and failure of model and training."""
        faults = tuple(self._fault(fault) for fault in verdict.faults)
        return replace(verdict, faults=faults, layers=tuple(map(self._report, verdict.layers)))

    def _fault(self, fault: Fault) -> Fault:
        place = self._line(fault.fault, fault.layer, fault.where[0] if fault.where else None)
        if place is None:
            return fault
        others = tuple(each for each in fault.where if each.kind is not Kind.LINE)
        change = change_of(fault, place, self._record)
        return replace(fault, where=(self._near(place), *others), change=self._nearer(change))

    def _report(self, report: LayerReport) -> LayerReport:
        return replace(report, findings=tuple(map(self._finding, report.findings)))

    def _finding(self, finding: Finding) -> Finding:
        if finding.status not in (Status.FAIL, Status.WARN) or not finding.faults:
            return finding
        fault = max(finding.faults, key=lambda name: finding.faults[name])
        place = self._line(fault, finding.layer, finding.where)
        if place is None:
            return finding
        near = self._near(place)
        if finding.where is None or finding.where.kind is Kind.LINE:
            return replace(finding, where=near)
        return replace(finding, where=replace(finding.where, file=near.file, line=near.line))

    # ------------------------------------------------------------------ which line

    def _line(self, fault: str, layer: Layer, known: Place | None) -> Place | None:
        """The line in which a fault would be mended; None where nothing of it was seen."""
        if fault == "user_code_raises":
            return raising_line(self._crash.__traceback__) if self._crash is not None else None
        if known is not None and known.kind is Kind.LINE:
            return known
        if fault in PARTS:
            return (self._negated() if fault == "flipped_loss_sign" else None) or self._of_parts(PARTS[fault])
        if known is not None and known.kind in NAMED and known.names:
            return self._lines.of_module(known.names[0])
        if known == OUTPUT_LAYER:
            return self._lines.of_output() or self._of_parts(OF_LOSS)
        if layer is Layer.MODEL:
            return self._lines.of_model() or self._of_parts(OF_LOSS)
        place = self._of_parts(OF_THE_LOOP)
        return _loop_around(place) if place is not None and fault == "too_few_epochs" else place

    def _of_parts(self, parts: tuple[str, ...]) -> Place | None:
        found = ((part, self._record.lines.get(part)) for part in parts)
        part, place = next(((part, place) for part, place in found if place is not None), ("", None))
        if place is None:
            return None
        if part == "backward" and "loss" in parts:
            return _assignment_before(place)
        kinds = {"optimizer": self._record.optimizers[:1], "scheduler": list(self._record.schedulers)[:1]}
        return self._construction(place, kinds[part][0]) if kinds.get(part) else place

    def _negated(self) -> Place | None:
        """The line that turns the sign of the loss: of its backward pass, or the last that sets it."""
        place = self._record.lines.get("backward")
        lines = [place, _assignment_before(place)] if place is not None else []
        return next((one for one in lines if source.negations_at(source.tree_of(str(one.file)), one.line or 0)), None)

    def _construction(self, place: Place, kind: str) -> Place:
        """The line that makes a thing of that class, where it was made before the watch, or by a trainer."""
        tree = source.tree_of(str(place.file))
        if source.call_at(tree, place.line or 0, kind) is not None:
            return place
        lines = [call.lineno for call in source.calls_in(tree, kind)] or self._rates_in(tree)
        return replace(place, names=(), line=lines[0]) if len(lines) == 1 else place

    def _rates_in(self, tree: ast.Module) -> list[int]:
        """The lines in which a call is given the first or the largest rate, as the arguments of a trainer are."""
        rates = [self._record.lr[0], max(self._record.lr)] if self._record.lr else []
        return [
            word.value.lineno
            for call in source.calls_in(tree)
            for word in call.keywords
            if word.arg in RATES and isinstance(word.value, ast.Constant) and word.value.value in rates
        ]

    # ------------------------------------------------------------------ paths

    def _near(self, place: Place) -> Place:
        return replace(place, file=near(place.file, self._home))

    def _nearer(self, change: Change | None) -> Change | None:
        return replace(change, file=near(change.file, self._home) or change.file) if change is not None else None


def near(file: str | None, home: Path) -> str | None:
    """A path as it is seen from a folder, where it lies in it."""
    if file is None or not Path(file).is_relative_to(home):
        return file
    return Path(file).relative_to(home).as_posix()


def _assignment_before(place: Place) -> Place:
    """The last line above `loss.backward()` that sets the loss: one that is written out by hand."""
    tree = source.tree_of(str(place.file))
    at = place.line or 0
    names = {
        call.func.value.id
        for call in source.calls_in(tree, "backward")
        if source.covers(call, at) and isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name)
    }
    lines = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and node.lineno < at
        if any(isinstance(goal, ast.Name) and goal.id in names for goal in node.targets)
    ]
    return replace(place, line=max(lines)) if lines else place


def _loop_around(place: Place) -> Place:
    """The outermost loop around a line of a function or script."""
    around = source.around(source.tree_of(str(place.file)), place.line or 0)
    loops = [node.lineno for node in around if isinstance(node, ast.For | ast.While)]
    return replace(place, line=loops[-1]) if loops else place
