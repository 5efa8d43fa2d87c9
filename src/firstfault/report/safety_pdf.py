"""The safety evaluation as a PDF that a person can read and file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from firstfault.checks.safety import SafetyReport
from firstfault.extras import optional_files
from firstfault.finding import Finding
from firstfault.output.escaping import visible
from firstfault.output.whole_files import replacing
from firstfault.report.robustness_drawing import robustness_drawing
from firstfault.values import Json

if TYPE_CHECKING:
    from reportlab.lib.styles import StyleSheet1
    from reportlab.platypus import Flowable, Table, TableStyle


NAME = "safety_evaluation_report.pdf"

MARKS = {"pass": "passed", "warn": "look at it", "fail": "FAILED", "error": "error", "skipped": "skipped"}
COLOURS = {"pass": "#1a7f37", "warn": "#9a6700", "fail": "#cf222e", "error": "#8250df", "skipped": "#6e7781"}
ROBUSTNESS, CASES_SHOWN, LONGEST = "robustness", 12, 500


@optional_files
def write_safety_pdf(name: str, judged: SafetyReport, folder: Path) -> tuple[str, ...]:
    """Write the evaluation of the target of that name into a folder; the file's name, none where reportlab is missing.

    It holds judgements, tables, the robustness curve, the worst cases and the sources of the thresholds.
    """
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.units import mm
    from reportlab.platypus import SimpleDocTemplate

    margins = {"leftMargin": 18 * mm, "rightMargin": 18 * mm, "topMargin": 16 * mm, "bottomMargin": 16 * mm}
    title = f"Safety evaluation: {visible(name)}"
    with replacing(folder / NAME) as draft:
        SimpleDocTemplate(str(draft), pagesize=A4, title=title, **margins).build(_story(name, judged))
    return (NAME,)


def _story(name: str, judged: SafetyReport) -> list[Flowable]:
    from reportlab.lib.styles import getSampleStyleSheet
    from reportlab.lib.units import mm
    from reportlab.platypus import Paragraph, Spacer

    styles = getSampleStyleSheet()
    findings = judged.report.findings
    return [
        Paragraph(f"Safety evaluation: {_escape(name)}", styles["Title"]),
        Paragraph(f"firstfault, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC", styles["Normal"]),
        Spacer(1, 6 * mm),
        Paragraph("Judgements", styles["Heading2"]),
        _judgements(findings, styles),
        *_tables(judged.tables, styles),
        *(_cases(judged.cases, styles) if judged.cases else ()),
        Paragraph("Sources of the thresholds", styles["Heading2"]),
        *(Paragraph(_escape(source), styles["Normal"]) for source in sorted({f.source for f in findings if f.source})),
    ]


def _tables(tables: Mapping[str, Sequence[Json]], styles: StyleSheet1) -> list[Flowable]:
    """Robustness as a curve, and the others as they are, each below its title."""
    from reportlab.platypus import Paragraph

    parts: list[Flowable] = []
    if ROBUSTNESS in tables:
        parts += [Paragraph("Robustness", styles["Heading2"]), robustness_drawing(tables[ROBUSTNESS])]
    for title, rows in tables.items():
        if title != ROBUSTNESS:
            parts += [Paragraph(_escape(title.capitalize()), styles["Heading2"]), _table(rows, styles)]
    return parts


def _cases(cases: Sequence[Json], styles: StyleSheet1) -> list[Flowable]:
    from reportlab.platypus import Paragraph

    shown = [{key: value for key, value in case.items() if key != "sample"} for case in cases[:CASES_SHOWN]]
    title = f"Failure cases ({len(shown)} of {len(cases)}; all in failure_cases.json)"
    return [Paragraph(title, styles["Heading2"]), _table(shown, styles)]


def _judgements(findings: Sequence[Finding], styles: StyleSheet1) -> Table:
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


def _table(rows: Sequence[Json], styles: StyleSheet1) -> Table:
    from reportlab.platypus import Paragraph, Table

    columns = list(dict.fromkeys(key for row in rows for key in row))
    head = [Paragraph(f"<b>{_escape(column.replace('_', ' '))}</b>", styles["BodyText"]) for column in columns]
    body = [[Paragraph(_escape(str(row.get(column, ""))), styles["BodyText"]) for column in columns] for row in rows]
    return Table([head, *body], repeatRows=1, colWidths=[495 / len(columns)] * len(columns), style=_lines())


def _lines() -> TableStyle:
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


def _escape(text: str) -> str:
    """A text for a paragraph, whose markup reportlab would act on; a row of a table must fit on a page."""
    short = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    return visible(short).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
