"""Safety and capability over the epochs of a training, as a picture."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from firstfault.charts.curves import Line, Mark, line_chart
from firstfault.values import Json

LINES = (
    ("safety", "safety_score", "train"),
    ("capability", "capability_score", "validation"),
    ("tax", "alignment_tax", "step"),
)


def safety_curve(rows: Sequence[Json]) -> Markup | None:
    """The curves of safety_score, capability_score and alignment_tax, with critical violations marked.

    It is None without an evaluation.
    """
    if not rows:
        return None
    epochs = [float(row["epoch"]) for row in rows]
    lines = [
        Line(name, epochs, [float(row[key]) for row in rows], style)
        for name, key, style in LINES
        if any(row[key] == row[key] for row in rows)
    ]
    marks = [Mark(float(row["epoch"]), f"critical: {row['violations'][0]}") for row in rows if row["critical"]]
    return line_chart("Safety over the training", lines, x_label="epoch", marks=marks) if lines else None
