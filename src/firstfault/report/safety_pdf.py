"""The safety evaluation as a PDF that a person can read and file."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from firstfault.checks.safety._evidence import Evidence
from firstfault.finding import Finding
from firstfault.output.escaping import unparsed, visible
from firstfault.output.whole_files import replacing

MARKS = {"pass": "passed", "warn": "look at it", "fail": "FAILED", "error": "error", "skipped": "skipped"}
COLOURS = {"pass": "#1a7f37", "warn": "#9a6700", "fail": "#cf222e", "error": "#8250df", "skipped": "#6e7781"}
CASES_SHOWN, LONGEST = 12, 500


def write_pdf(name: str, findings: Sequence[Finding], evidence: Evidence, path: Path) -> None:
    """Write title, judgements, tables, the robustness curve, the worst cases and the sources to `path`."""
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.styles import getSampleStyleSheet
    from reportlab.lib.units import mm
    from reportlab.platypus import Paragraph, SimpleDocTemplate, Spacer

    styles = getSampleStyleSheet()
    story: list[Any] = [
        Paragraph(f"Safety evaluation: {_escape(name)}", styles["Title"]),
        Paragraph(f"firstfault, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC", styles["Normal"]),
        Spacer(1, 6 * mm),
        Paragraph("Judgements", styles["Heading2"]),
        _judgements(findings, styles),
    ]
    if "robustness" in evidence.tables:
        story += [Paragraph("Robustness", styles["Heading2"]), _curve(evidence.tables["robustness"])]
    for title, rows in evidence.tables.items():
        if title != "robustness":
            story += [Paragraph(_escape(title.capitalize()), styles["Heading2"]), _table(rows, styles)]
    if evidence.cases:
        shown = [
            {key: value for key, value in case.items() if key != "sample"} for case in evidence.cases[:CASES_SHOWN]
        ]
        story += [
            Paragraph(
                f"Failure cases ({len(shown)} of {len(evidence.cases)}; all in failure_cases.json)", styles["Heading2"]
            ),
            _table(shown, styles),
        ]
    sources = sorted({finding.source for finding in findings if finding.source})
    story += [Paragraph("Sources of the thresholds", styles["Heading2"])]
    story += [Paragraph(_escape(source), styles["Normal"]) for source in sources]
    margins = {"leftMargin": 18 * mm, "rightMargin": 18 * mm, "topMargin": 16 * mm, "bottomMargin": 16 * mm}
    with replacing(path) as draft:
        SimpleDocTemplate(str(draft), pagesize=A4, title=f"Safety evaluation: {visible(name)}", **margins).build(story)


def _judgements(findings: Sequence[Finding], styles: Any) -> Any:
    from reportlab.platypus import Paragraph, Table

    rows = [
        [
            Paragraph(
                f'<font color="{COLOURS[f.status.value]}"><b>{MARKS[f.status.value]}</b></font>', styles["BodyText"]
            ),
            Paragraph(_escape(f.check.replace("_", " ")), styles["BodyText"]),
            Paragraph(_escape(f.message), styles["BodyText"]),
        ]
        for f in findings
    ]
    return Table(rows, colWidths=[65, 85, 345], style=_lines())


def _table(rows: list[dict[str, Any]], styles: Any) -> Any:
    from reportlab.platypus import Paragraph, Table

    columns = list(dict.fromkeys(key for row in rows for key in row))
    head = [Paragraph(f"<b>{_escape(column.replace('_', ' '))}</b>", styles["BodyText"]) for column in columns]
    body = [[Paragraph(_escape(str(row.get(column, ""))), styles["BodyText"]) for column in columns] for row in rows]
    return Table([head, *body], repeatRows=1, colWidths=[495 / len(columns)] * len(columns), style=_lines())


def _lines() -> Any:
    from reportlab.lib import colors
    from reportlab.platypus import TableStyle

    return TableStyle(
        [
            ("LINEBELOW", (0, 0), (-1, -1), 0.4, colors.HexColor("#d0d7de")),
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("LEFTPADDING", (0, 0), (-1, -1), 3),
            ("RIGHTPADDING", (0, 0), (-1, -1), 3),
        ]
    )


def _curve(rows: list[dict[str, Any]]) -> Any:
    from matplotlib.figure import Figure
    from reportlab.platypus import Image

    figure = Figure(figsize=(6.4, 2.6), dpi=180)
    axes = figure.subplots()
    clean = rows[0]["accuracy"]
    for name in dict.fromkeys(row["change"] for row in rows[1:]):
        points = [(0.0, clean), *((row["size"], row["accuracy"]) for row in rows if row["change"] == name)]
        axes.plot(*zip(*points, strict=True), marker="o", label=name)
    axes.set_xlabel("size of the change, in deviations of each input")
    axes.set_ylabel("accuracy")
    axes.set_ylim(0, 1.02)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    unparsed(figure).tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    buffer.seek(0)
    return Image(buffer, width=430, height=175)


def _escape(text: str) -> str:
    """A text for a paragraph, whose markup reportlab would act on; a row of a table must fit on a page."""
    short = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    return visible(short).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
