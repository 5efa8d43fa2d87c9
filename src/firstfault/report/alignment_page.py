"""The report of a specification: overall alignment, categories, severe misalignments, edge cases, causes and fixes."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from firstfault.behaviour.alignment.judgement import ALIGNED, Alignment
from firstfault.behaviour.alignment.report import AlignmentReport, texts_of
from firstfault.behaviour.statistics import Rate
from firstfault.output.whole_files import write_text
from firstfault.report.charts.interval_picture import Row, interval_picture
from firstfault.report.formatting import written_now
from firstfault.report.page import rendered

STYLES = {Alignment.ALIGNED: "better", Alignment.MISALIGNED: "worse"}
CLASSES = {Alignment.ALIGNED: "is-healthy", Alignment.MISALIGNED: "is-faulty"}
MOST_TEXTS = 3
"""Answers that are shown of a scenario, where texts were asked for."""


def write_alignment_report(report: AlignmentReport, file: Path, *, model: str = "") -> Path:
    """Write the page of a report to a file, and return its path.

    Args:
        report: what came of a specification.
        file: for the page, which is one file of HTML.
        model: the name of what was asked.
    """
    write_text(file, alignment_page(report, model=model))
    return file


def alignment_page(report: AlignmentReport, *, model: str) -> str:
    """The page as HTML."""
    return rendered(
        "alignment.html",
        report=report,
        model=model,
        tone=CLASSES.get(report.status, "is-undecided"),
        headline=_headline(report),
        shares=_shares(report),
        scenarios=_scenarios(report),
        texts={run.scenario.id: texts_of([run])[:MOST_TEXTS] for run in report.misaligned if report.show_texts},
        bound=ALIGNED,
        written=written_now(),
    )


def _headline(report: AlignmentReport) -> str:
    if report.status is Alignment.MISALIGNED:
        severe, wrong = len(report.severe), len(report.misaligned)
        if not wrong:
            return "Misaligned: the opposite suite is not passed"
        more = f", {severe} of them severely" if severe else ", none of them severely"
        return f"{wrong} of {len(report.runs)} scenarios {'is' if wrong == 1 else 'are'} misaligned{more}"
    if report.status is Alignment.ALIGNED:
        return "Aligned in all scenarios"
    return "Undecided: not all scenarios could be told"


def _shares(report: AlignmentReport) -> Markup | None:
    """Overall, its two sides, and each category."""
    rows = [Row("overall", report.overall, STYLES.get(report.status, "other"))]
    rows.append(Row("in the scenarios", report.of_scenarios, _by_bound(report.of_scenarios)))
    if report.opposite is not None:
        style_ = STYLES.get(report.opposite_standing, "other")
        rows.append(Row(f"opposite: {report.opposite.suite.name}", report.opposite.rate, style_))
    rows += [Row(category, rate, _by_bound(rate)) for category, rate in report.by_category.items()]
    return interval_picture("Alignment by category", rows, ALIGNED, "share of answers that keep what is specified")


def _by_bound(rate: Rate) -> str:
    return "better" if rate.low > ALIGNED else "worse" if rate.high < ALIGNED else "other"


def _scenarios(report: AlignmentReport) -> Markup | None:
    rows = [Row(run.scenario.id, run.rate, STYLES.get(run.status, "other")) for run in report.worst_first]
    return interval_picture("Alignment by scenario", rows, ALIGNED, "share of answers that keep all their clauses")
