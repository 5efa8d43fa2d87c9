"""The report: one HTML file that needs no network and no script."""

from __future__ import annotations

import base64
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from firstfault.charts.files import style_sheet
from firstfault.charts.png import image_png, small
from firstfault.finding import Finding, Layer, LayerReport, Status
from firstfault.output import numbers
from firstfault.output.whole_files import write_text
from firstfault.report import formatting as wording
from firstfault.report.attachments import Attachments
from firstfault.report.charts import pictures
from firstfault.report.charts.model_diagram import blamed, diagram, failed_modules
from firstfault.report.charts.training_curves import charts_of, notices_of, step_marks
from firstfault.report.charts.training_pictures import training_pictures
from firstfault.report.context import ReportContext
from firstfault.report.facts import write_facts
from firstfault.report.files import file_url, files_of
from firstfault.report.ladder_view import rungs_of
from firstfault.report.safety_pdf import write_safety_pdf
from firstfault.report.stage_table import marked_stages
from firstfault.texts import encodable
from firstfault.values import Json, Row
from firstfault.verdict import Verdict

if TYPE_CHECKING:
    from jinja2 import Environment

    from firstfault.metrics import Array
    from firstfault.verdict import Outcome


logger = logging.getLogger(__name__)
HERE = Path(__file__).parent
MOST_IN_FULL = 12


def write_report(verdict: Verdict, folder: Path, *, context: ReportContext | None = None) -> Path:
    """Write `report.html` into `folder`, and return its path; where safety was judged, its PDF too.

    The page links the other files of `folder` relatively; everything else is inside it.
    """
    context = context or ReportContext()
    _write_pdf(verdict, context, folder)
    path = folder / "report.html"
    write_text(path, render_page(verdict, context, files_of(folder), Attachments(folder)))
    try:
        write_facts(context, folder)
    except OSError as error:
        logger.warning("what another run could be compared with was not written (%s)", error)
    return path


def _write_pdf(verdict: Verdict, context: ReportContext, folder: Path) -> None:
    """The page links the PDF, so it comes first; one that can't be written must not cost the page."""
    if context.safety is None:
        return
    try:
        write_safety_pdf(verdict.target, context.safety, folder)
    except Exception as error:
        logger.warning("the PDF of safety could not be written (%s: %s)", type(error).__name__, error)


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
    return rendered(
        "report.html",
        verdict=verdict,
        context=context,
        rungs=rungs_of(verdict),
        files=files,
        pictures={report.layer: attachments.pictures(report) for report in verdict.layers},
        listings={report.layer: attachments.tables(report) for report in verdict.layers},
        stages=marked_stages(context.stages, reports.get(Layer.PREPROCESSING)),
        charts=charts_of(context, training),
        inside=training_pictures(context.record, failed_modules(blame), step_marks(training)),
        diagram=diagram(context.network, blame) if context.network is not None else None,
        notices=notices_of(training),
        cleared=_cleared(verdict),
        safety=_safety(verdict),
        swaps_plot=pictures.swaps_plot(verdict.outcomes),
        images=[data_url(image_png(small(image))) for image in _images(context)],
        time=_time(verdict),
    )


def rendered(template: str, **values: object) -> str:
    """A page of one of the templates, with the rules of pages and of the charts in them."""
    css = style_sheet() + (HERE / "report.css").read_text(encoding="utf-8")
    return encodable(_environment().get_template(template).render(css=css, **values))


def _environment() -> Environment:
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
        "diff": wording.diff,
        "left_out": wording.left_out,
        "examined": wording.examined,
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


def _cleared(verdict: Verdict) -> list[Outcome]:
    """The suspicions that were tested, and do not stand."""
    standing = {fault.fault for fault in verdict.faults}
    return [outcome for outcome in verdict.outcomes if outcome.fault not in standing]


def _safety(verdict: Verdict) -> Json:
    """The safety evaluation without its findings, which the ladder shows."""
    return {
        key: value for key, value in (verdict.safety or {}).items() if key not in ("findings", "report", "artifacts")
    }


def _images(context: ReportContext) -> list[Array]:
    return [] if context.sample_images is None else list(context.sample_images[:16])


def data_url(png: bytes) -> str:
    """A picture as an address that holds it."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _time(verdict: Verdict) -> list[Json]:
    """Seconds per layer, and what is left of the whole for swaps and the rest."""
    rows: list[Json] = [
        {"name": report.layer.value, "seconds": report.seconds, "style": "layer"} for report in verdict.layers
    ]
    rest = verdict.seconds - sum(report.seconds for report in verdict.layers)
    if rows and rest >= 0.05:
        rows.append({"name": "swaps, packaging, records", "seconds": rest, "style": "rest"})
    longest = max((row["seconds"] for row in rows), default=0.0) or 1.0
    return [{**row, "width": round(100 * row["seconds"] / longest, 1)} for row in rows]


def columns_of(rows: Sequence[Row], *without: str) -> list[str]:
    """The keys of some rows, in the order in which they first come."""
    return [key for key in dict.fromkeys(key for row in rows for key in row) if key not in without]


def _is_rows(value: object) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(hasattr(item, "items") for item in value)


def safe_url(url: str) -> str | None:
    """`url` when a report may link it: http, https, file or a relative path; None for anything else."""
    text = str(url).strip()
    scheme = re.match(r"[A-Za-z][A-Za-z0-9+.\-]*:", text)
    if scheme is None:
        return None if text.startswith("//") else text
    return text if scheme[0].lower() in ("http:", "https:", "file:") else None
