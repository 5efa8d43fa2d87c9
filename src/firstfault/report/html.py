"""The report of a run as one HTML file that needs no network and no script."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from firstfault.faults import FAULTS
from firstfault.finding import LADDER, Finding, LayerReport, Status
from firstfault.report.charts import line_chart, picture, swap_bars
from firstfault.report.context import ReportContext
from firstfault.verdict import Fault, Verdict

MARKS = {Status.PASS: "✓", Status.WARN: "!", Status.FAIL: "✗", Status.ERROR: "E", Status.SKIPPED: "–"}
ORDER = (Status.FAIL, Status.ERROR, Status.WARN, Status.PASS, Status.SKIPPED)


def write_report(verdict: Verdict, folder: Path, *, context: ReportContext | None = None) -> Path:
    """Write `report.html` into a run's folder; its path. Links to files beside it are relative."""
    from jinja2 import Environment
    from markupsafe import Markup

    context = context or ReportContext()
    home = resources.files("firstfault.report")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string(home.joinpath("report.html").read_text()).render(
        verdict=verdict, first=verdict.first_faulty_layer, rungs=_rungs(verdict), context=context, marks=MARKS,
        style=Markup(home.joinpath("report.css").read_text()),
        charts=[Markup(chart) for chart in _charts(context)],
        images=[(label, picture(image)) for label, image in context.images],
        bars=_bars, wrong=_wrong, tested=_tested, number=_number,
        files=sorted(path.name for path in folder.iterdir() if path.is_file() and path.suffix in (".json", ".html", ".pdf", ".txt", ".png") and path.name != "report.html"),
        total=sum(report.seconds for report in verdict.layers) or 1.0,
    )
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def _rungs(verdict: Verdict) -> list[dict[str, Any]]:
    known = {report.layer: report for report in verdict.layers}
    layers = [*LADDER, *(layer for layer in known if layer not in LADDER)]
    return [{"layer": layer.value, "report": known.get(layer), "findings": _sorted(known.get(layer))} for layer in layers]


def _sorted(report: LayerReport | None) -> list[Finding]:
    return sorted(report.findings, key=lambda finding: ORDER.index(finding.status)) if report else []


def _charts(context: ReportContext) -> list[str]:
    charts = []
    if context.epochs:
        for title, name in (("loss", "loss"), (context.metric, "metric")):
            series = {part: [epoch[f"{part}_{name}"] for epoch in context.epochs] for part in ("train", "validation")}
            charts.append(line_chart(_plain(title), series, "epochs"))
    for name, title in (("grad_norm", "gradient norm (log)"), ("update_ratio", "update ratio (log)"), ("lr", "learning rate")):
        if context.steps.get(name):
            charts.append(line_chart(title, {title: context.steps[name]}, "points", log=name != "lr"))
    return [chart for chart in charts if chart]


def _plain(text: str) -> str:
    return "".join(letter for letter in text if letter.isalnum() or letter in " _-")


def _bars(fault: Fault) -> Any:
    from markupsafe import Markup

    if fault.swap is None or fault.swap.before is None or fault.swap.after is None:
        return ""
    return Markup(swap_bars(fault.swap.before, fault.swap.after))


def _wrong(fault: Fault) -> str:
    return FAULTS[fault.fault].wrong if fault.fault in FAULTS else "the user's code raised"


def _tested(fault: Fault) -> str:
    return {True: "confirmed", False: "not confirmed", None: "not tested by a swap"}[fault.confirmed]


def _number(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return "" if value is None else str(value)
    if isinstance(value, float):
        return f"{value:,.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_number(item)}" for key, item in value.items())
    return str(value)
