"""The curves of a training, by epoch and by step, with the findings of its layer marked."""

from __future__ import annotations

from typing import SupportsFloat

from markupsafe import Markup

from firstfault.charts.curves import Line, Mark, line_chart
from firstfault.finding import Finding, LayerReport, Status
from firstfault.place import Kind
from firstfault.report.context import ReportContext
from firstfault.report.formatting import of_status, sentence

EPOCH_CHARTS = (("Loss", "loss"), ("", "metric"))
STEP_CHARTS = {
    "loss": ("Loss per step", False),
    "grad_norm": ("Gradient norm", True),
    "update_ratio": ("Update ratio ‖Δw‖ / ‖w‖", True),
    "lr": ("Learning rate", False),
}


def charts_of(context: ReportContext, training: LayerReport | None = None) -> list[Markup]:
    """The curves of a context as SVG, with the findings of the training layer marked."""
    bad = notices_of(training)
    drawn = []
    if context.epochs:
        marks = [mark for finding in bad if (mark := mark_of(finding, "epoch"))]
        drawn += [_epoch_chart(context, title or sentence(context.metric), key, marks) for title, key in EPOCH_CHARTS]
    marks = step_marks(training)
    drawn += [_step_chart(context, key, marks) for key in STEP_CHARTS if len(context.steps.get(key, ()))]
    return drawn


def notices_of(training: LayerReport | None) -> list[Finding]:
    """The findings of the training layer that a reader of the curves should know of."""
    return of_status(training, Status.FAIL, Status.WARN) if training else []


def step_marks(training: LayerReport | None) -> list[Mark]:
    """The findings of the training layer that were seen at a step."""
    return [mark for finding in notices_of(training) if (mark := mark_of(finding, "step"))]


def mark_of(finding: Finding, unit: str) -> Mark | None:
    """Where a finding lies on an axis of epochs or steps: its place says at which it was seen."""
    place = finding.where
    if place is None:
        return None
    at = place.step if unit == "step" else int(place.names[0]) if place.kind is Kind.EPOCH else None
    return Mark(float(at), f"{finding.check}: {finding.message}") if at is not None else None


def _epoch_chart(context: ReportContext, title: str, key: str, marks: list[Mark]) -> Markup:
    numbers = [float(epoch.get("number", index + 1)) for index, epoch in enumerate(context.epochs)]
    lines = [
        Line(name, numbers, [_real(epoch.get(f"{name}_{key}")) for epoch in context.epochs], name)
        for name in ("train", "validation")
    ]
    return line_chart(title, lines, x_label="epoch", marks=marks)


def _step_chart(context: ReportContext, key: str, marks: list[Mark]) -> Markup:
    title, log = STEP_CHARTS[key]
    series = [_real(value) for value in context.steps[key]]
    steps = list(context.step_numbers.get(key, ())) or list(range(1, len(series) + 1))
    line = Line("", [float(step) for step in steps[: len(series)]], series)
    return line_chart(
        title, [line], x_label="optimizer step", log=log, marks=marks, ticks=list(context.epoch_ends)[:60]
    )


def _real(value: SupportsFloat | str | None) -> float:
    try:
        return float("nan") if value is None else float(value)
    except (TypeError, ValueError):
        return float("nan")
