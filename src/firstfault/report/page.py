"""The report: one HTML file that needs no network and no script."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from firstfault.charts import curves
from firstfault.charts.curves import Line, Mark
from firstfault.charts.png import image_png, small
from firstfault.finding import Finding, Layer, LayerReport, Status
from firstfault.output import numbers
from firstfault.output.whole_files import write_text
from firstfault.place import Kind
from firstfault.report import formatting as wording
from firstfault.report.attachments import Attachments
from firstfault.report.charts import pictures
from firstfault.report.charts.model_diagram import Blame, blamed, diagram
from firstfault.report.charts.training_pictures import training_pictures
from firstfault.report.context import ReportContext
from firstfault.report.ladder_view import rungs_of
from firstfault.report.stage_table import marked_stages
from firstfault.texts import encodable
from firstfault.verdict import Verdict

HERE = Path(__file__).parent
MOST_IN_FULL = 12
EPOCH_CHARTS = (("Loss", "loss"), ("", "metric"))
STEP_CHARTS = {
    "loss": ("Loss per step", False),
    "grad_norm": ("Gradient norm", True),
    "update_ratio": ("Update ratio ‖Δw‖ / ‖w‖", True),
    "lr": ("Learning rate", False),
}
KNOWN_FILES = {
    "verdict.json": "the verdict, for tools",
    "stages.json": "statistics of every preprocessing stage",
    "model_summary.txt": "layers, shapes and parameters",
    "trained.pt": "the trained weights",
    "failure_cases.json": "what the safety evaluation got wrong",
    "gx_result.json": "Great Expectations, as JSON",
    "safety_evaluation_report.pdf": "the safety evaluation, as PDF",
    "layer_1_data.json": "findings of a layer",
    "quarantine.csv": "rows that break an expectation, with the reasons",
    "gx_result.html": "Great Expectations, to read",
    "profile.html": "a profile of a sample, by ydata-profiling",
    "profile_alerts.json": "the profile's alerts",
    "profile_compare.html": "a sample of the reference beside this one, by ydata-profiling",
    "profile_left_out.json": "columns of another type in the reference",
    "drift.csv": "every column before and after",
    "drift.png": "the columns that moved most",
    "domain_columns.csv": "the columns that tell train from the rest",
    "joint_drift.png": "two columns that moved together",
    "columns.csv": "every column, with its range or commonest values",
    "class_balance.png": "the share of each class per split",
    "missing_values.png": "where values are missing",
    "embedding_map.png": "a map of the training rows",
    "label_suspects.csv": "rows whose label looks wrong",
    "label_suspects.png": "samples whose label looks wrong",
    "duplicate_rows.csv": "pairs of equal rows",
    "split_overlap.csv": "rows that are also in train",
    "unreadable_images.csv": "image files that can't be used",
    "odd_images.csv": "image files unlike the others",
    "blank_images.csv": "images of one value",
    "images_of_two_classes.csv": "equal images under two classes",
    "model_summary.json": "layers, shapes and parameters, as JSON",
    "trace.json": "a profile of a few steps: open it in a trace viewer",
    "trace.json.gz": "a profile of a few steps: open it in a trace viewer",
    "step_operators.csv": "the dearest operators of a step",
    "step_phases.csv": "the time of a step by what is done in it",
}


def write_report(verdict: Verdict, folder: Path, *, context: ReportContext | None = None) -> Path:
    """Write `report.html` into `folder`, and return its path.

    The page links the other files of `folder` relatively; everything else is inside it.
    """
    path = folder / "report.html"
    write_text(path, render_page(verdict, context or ReportContext(), _files(folder), Attachments(folder)))
    return path


def render_page(
    verdict: Verdict,
    context: ReportContext,
    files: Sequence[dict[str, str]] = (),
    attachments: Attachments | None = None,
) -> str:
    """The page of a verdict as HTML."""
    attachments = attachments or Attachments(None)
    reports = {report.layer: report for report in verdict.layers}
    training = reports.get(Layer.TRAINING)
    blame = blamed(verdict.layers, context.network) if context.network is not None else {}
    template = environment().get_template("report.html")
    return encodable(
        template.render(
            verdict=verdict,
            context=context,
            rungs=rungs_of(verdict),
            files=files,
            pictures={report.layer: attachments.pictures(report) for report in verdict.layers},
            listings={report.layer: attachments.tables(report) for report in verdict.layers},
            stages=marked_stages(context.stages, reports.get(Layer.PREPROCESSING)),
            charts=charts_of(context, training),
            inside=training_pictures(context.record, _failed(blame), _step_marks(training)),
            diagram=diagram(context.network, blame) if context.network is not None else None,
            notices=_bad(training),
            cleared=_cleared(verdict),
            safety=_safety(verdict),
            ablation_plot=pictures.change_plot(context.ablation or pictures.outcome_rows(verdict.outcomes)),
            images=[data_url(image_png(small(image))) for image in _images(context)],
            plots={title: data_url(png) for title, png in context.plots.items()},
            time=_time(verdict),
            css=(HERE / "report.css").read_text(encoding="utf-8"),
        )
    )


def environment() -> Any:
    """The templates of this folder, with what they call."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    jinja = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    jinja.filters |= {
        "number": numbers.number,
        "brief": numbers.brief,
        "duration": numbers.duration,
        "percent": numbers.percent,
        "words": wording.words,
        "sentence": wording.sentence,
        "wrong": wording.what_is_wrong,
        "raw_css": Markup,
    }
    jinja.globals |= {
        "headline": wording.headline,
        "tested": wording.tested,
        "swap_numbers": wording.swap_numbers,
        "swap_basis": wording.swap_basis,
        "tally": wording.tally,
        "count": wording.count,
        "sorted_findings": findings_by_kind,
        "swap_picture": pictures.swap_picture,
        "share_bar": pictures.share_bar,
        "safe_url": safe_url,
        "file_url": file_url,
        "is_mapping": lambda value: hasattr(value, "items"),
        "is_rows": _is_rows,
        "columns": columns_of,
        "proves": wording.proves,
    }
    return jinja


def findings_by_kind(report: LayerReport) -> dict[str, list[Finding]]:
    """The findings of a layer: the bad ones in full (at most a dozen), more bad ones, passed, skipped."""
    bad = wording.of_status(report, Status.FAIL, Status.ERROR, Status.WARN)
    return {
        "full": bad[:MOST_IN_FULL],
        "more": bad[MOST_IN_FULL:],
        "passed": wording.of_status(report, Status.PASS),
        "skipped": wording.of_status(report, Status.SKIPPED),
    }


def charts_of(context: ReportContext, training: LayerReport | None = None) -> list[Any]:
    """The curves of a context as SVG, with the findings of the training layer marked."""
    bad = _bad(training)
    drawn = []
    if context.epochs:
        marks = [mark for finding in bad if (mark := mark_of(finding, "epoch"))]
        drawn += [
            _epoch_chart(context, title or wording.sentence(context.metric), key, marks) for title, key in EPOCH_CHARTS
        ]
    marks = _step_marks(training)
    drawn += [_step_chart(context, key, marks) for key in STEP_CHARTS if len(context.steps.get(key, ()))]
    return drawn


def _bad(training: LayerReport | None) -> list[Finding]:
    return wording.of_status(training, Status.FAIL, Status.WARN) if training else []


def _step_marks(training: LayerReport | None) -> list[Mark]:
    return [mark for finding in _bad(training) if (mark := mark_of(finding, "step"))]


def _failed(blame: Mapping[str, Blame]) -> list[str]:
    return [name for name, entry in blame.items() if entry.status is Status.FAIL]


def mark_of(finding: Finding, unit: str) -> Mark | None:
    """Where a finding lies on an axis of epochs or steps: its place says at which it was seen."""
    place = finding.where
    if place is None:
        return None
    at = place.step if unit == "step" else int(place.names[0]) if place.kind is Kind.EPOCH else None
    return Mark(float(at), f"{finding.check}: {finding.message}") if at is not None else None


def _epoch_chart(context: ReportContext, title: str, key: str, marks: list[Mark]) -> Any:
    numbers = [float(epoch.get("number", index + 1)) for index, epoch in enumerate(context.epochs)]
    lines = [
        Line(name, numbers, [_real(epoch.get(f"{name}_{key}")) for epoch in context.epochs], name)
        for name in ("train", "validation")
    ]
    return curves.line_chart(title, lines, x_label="epoch", marks=marks)


def _step_chart(context: ReportContext, key: str, marks: list[Mark]) -> Any:
    title, log = STEP_CHARTS[key]
    series = [_real(value) for value in context.steps[key]]
    steps = list(context.step_numbers.get(key, ())) or list(range(1, len(series) + 1))
    line = Line("", [float(step) for step in steps[: len(series)]], series)
    return curves.line_chart(
        title, [line], x_label="optimizer step", log=log, marks=marks, ticks=list(context.epoch_ends)[:60]
    )


def _real(value: Any) -> float:
    try:
        return float("nan") if value is None else float(value)
    except (TypeError, ValueError):
        return float("nan")


def _cleared(verdict: Verdict) -> list[Any]:
    """The suspicions that were tested, and do not stand."""
    standing = {fault.fault for fault in verdict.faults}
    return [outcome for outcome in verdict.outcomes if outcome.fault not in standing]


def _safety(verdict: Verdict) -> dict[str, Any]:
    """The safety evaluation without its findings, which the ladder shows."""
    return {
        key: value for key, value in (verdict.safety or {}).items() if key not in ("findings", "report", "artifacts")
    }


def _images(context: ReportContext) -> list[Any]:
    return [] if context.sample_images is None else list(context.sample_images[:16])


def data_url(png: bytes) -> str:
    """A picture as an address that holds it."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _time(verdict: Verdict) -> list[dict[str, Any]]:
    """Seconds per layer, and what is left of the whole for swaps and the rest."""
    rows: list[dict[str, Any]] = [
        {"name": report.layer.value, "seconds": report.seconds, "style": "layer"} for report in verdict.layers
    ]
    rest = verdict.seconds - sum(report.seconds for report in verdict.layers)
    if rows and rest >= 0.05:
        rows.append({"name": "swaps, packaging, records", "seconds": rest, "style": "rest"})
    longest = max((row["seconds"] for row in rows), default=0.0) or 1.0
    return [{**row, "width": round(100 * row["seconds"] / longest, 1)} for row in rows]


def columns_of(rows: Sequence[Any], *without: str) -> list[str]:
    """The keys of some rows, in the order in which they first come."""
    return [key for key in dict.fromkeys(key for row in rows for key in row) if key not in without]


def _is_rows(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(hasattr(item, "items") for item in value)


def safe_url(url: str) -> str | None:
    """`url` when a report may link it: http, https, file or a relative path; None for anything else."""
    text = str(url).strip()
    scheme = re.match(r"[A-Za-z][A-Za-z0-9+.\-]*:", text)
    if scheme is None:
        return None if text.startswith("//") else text
    return text if scheme[0].lower() in ("http:", "https:", "file:") else None


def file_url(name: str) -> str:
    """The relative address of a file beside the report."""
    return f"./{quote(name)}"


def _files(folder: Path) -> list[dict[str, str]]:
    entries = [
        entry for entry in sorted(folder.iterdir()) if not entry.name.startswith(".") and entry.name != "report.html"
    ]
    return [
        {"name": entry.name + "/" * entry.is_dir(), "about": _about(entry.name), "size": _size(entry)}
        for entry in entries
    ]


def _about(name: str) -> str:
    if re.fullmatch(r"layer_\d_\w+\.json", name):
        return "findings of one layer, for tools"
    return KNOWN_FILES.get(name, "")


def _size(entry: Path) -> str:
    if entry.is_dir():
        return "folder"
    size = entry.stat().st_size
    return f"{size} B" if size < 1000 else f"{size / 1000:.0f} kB" if size < 1_000_000 else f"{size / 1_000_000:.1f} MB"
