"""The picture of a sweep: every change's mean and seeds against the band of seed noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from firstfault.ablation.sweeps.results import SweepResult, SweepRow
from firstfault.output.escaping import unparsed
from firstfault.output.whole_files import replacing

COLOURS = {
    "baseline": "#333333",
    "better": "#1a7f37",
    "worse": "#c62828",
    "within noise": "#6e7781",
    "pending": "#b08800",
}
NAME = "ablation.png"


def plot_sweep(result: SweepResult, folder: Path) -> Path:
    """Draw a sweep as `ablation.png` in a folder: a row per change, best on top; its path.

    A large point is the mean, the bar its standard deviation, small points are single seeds; the
    shaded band is the unchanged target's mean ± noise.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = sorted((row for row in result.rows if row.mean is not None), key=lambda row: row.mean or 0.0)
    figure = Figure(figsize=(9, 1.6 + 0.42 * max(len(rows), 1)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    _band(axes, result)
    for height, row in enumerate(rows):
        _draw(axes, height, row)
    axes.set_yticks(range(len(rows)), [row.change for row in rows])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlabel(f"{result.metric} on validation, higher is better")
    axes.set_title(f"{result.target}: one change at a time", loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.25)
    _legend(axes, rows, result)
    path = Path(folder) / NAME
    with replacing(path) as draft:
        unparsed(figure).savefig(draft, dpi=130)
    return path


def table(result: SweepResult) -> list[dict[str, Any]]:
    """The rows of a sweep for a table: one dict per change."""
    return result.table()


def _band(axes: Any, result: SweepResult) -> None:
    mean = result.baseline.mean
    if mean is None:
        return
    axes.axvline(mean, color="#333333", linewidth=1, linestyle="--", zorder=1)
    if result.noise is not None:
        axes.axvspan(mean - result.noise, mean + result.noise, color="#d0d7de", alpha=0.6, zorder=0)


def _draw(axes: Any, height: int, row: SweepRow) -> None:
    colour = COLOURS[row.verdict]
    axes.scatter(row.scores, [height] * len(row.scores), s=14, color=colour, alpha=0.45, zorder=2)
    axes.errorbar([row.mean], [height], xerr=[row.std or 0.0], fmt="o", markersize=7, color=colour, capsize=3, zorder=3)
    if row.difference is not None:
        axes.annotate(
            f"{row.difference:+.3f}",
            (1.0, height),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=colour,
            annotation_clip=False,
        )


def _legend(axes: Any, rows: list[SweepRow], result: SweepResult) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    seen = [verdict for verdict in COLOURS if any(row.verdict == verdict for row in rows)]
    handles: list[Any] = [
        Line2D([], [], marker="o", linestyle="", color=COLOURS[verdict], label=verdict) for verdict in seen
    ]
    if result.noise is not None:
        handles.append(Patch(color="#d0d7de", label=f"seed noise ± {result.noise:.3f}"))
    figure = axes.get_figure()
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=8, frameon=False)
