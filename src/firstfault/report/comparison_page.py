"""The page of two runs: verdicts, curves over each other, and what changed."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from firstfault.charts.curves import Line, line_chart
from firstfault.output.whole_files import write_text
from firstfault.report.comparison import CURVES, Comparison
from firstfault.report.page import rendered

LOGARITHMIC = ("loss", "train_loss", "validation_loss", "grad_norm", "update_ratio", "lr")


def write_comparison(found: Comparison, file: Path) -> Path:
    """Write the page of two runs, and return its path."""
    page = rendered(
        "comparison.html",
        found=found,
        charts=[_chart(found, name) for name in found.curves],
        tone={"healthy": "is-healthy", "faulty": "is-faulty"}.get(found.second.verdict.status.value, "is-undecided"),
    )
    write_text(file, page, private=False)
    return file


def _chart(found: Comparison, name: str) -> Markup:
    lines = [
        Line(title, *run.curve(name), style=kind)
        for title, run, kind in (("first", found.first, "train"), ("second", found.second, "validation"))
        if run.curve(name)[0]
    ]
    positive = all(y > 0 for line in lines for y in line.y)
    by_epoch = name in CURVES
    title = name.replace("_", " ").capitalize()
    return line_chart(title, lines, x_label="epoch" if by_epoch else "step", log=positive and name in LOGARITHMIC)
