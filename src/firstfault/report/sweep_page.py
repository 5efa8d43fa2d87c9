"""The report of a sweep: one HTML file with its table, pictures and trainings, that needs no network and no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from firstfault.ablation.sweeps.results import SweepResult
from firstfault.charts.files import write_picture
from firstfault.output.whole_files import write_text
from firstfault.report.charts.search_pictures import search_pictures
from firstfault.report.charts.sweep_picture import sweep_picture
from firstfault.report.formatting import written_now
from firstfault.report.markdown import escape
from firstfault.report.page import rendered
from firstfault.values import Row

PICTURE = "ablation.svg"
MOST_TRIALS = 300
MODES = {
    "factors": "One change at a time",
    "grid": "Every combination of the values",
    "tune": "The best settings that a search found",
}


def write_sweep_report(
    result: SweepResult, folder: Path, *, links: Mapping[str, str] | None = None, facts: Row | None = None
) -> Path:
    """Write `report.html` into `folder`, and return its path.

    Its pictures are also files: `ablation.svg`, `search_*.svg`.

    Args:
        result: the sweep.
        folder: of the run.
        links: URLs of the MLflow and Prefect runs, by title.
        facts: versions, seed, commit, data digest.
    """
    changes, searched = sweep_picture(result), search_pictures(result)
    write_picture(folder, PICTURE, changes)
    for title, drawn in searched.items():
        write_picture(folder, f"search_{title.lower().replace(' ', '_')}.svg", drawn)
    page = rendered(
        "sweep.html",
        result=result,
        headline=headline(result),
        lead=MODES[result.mode],
        rows=_filled(result.table(), () if result.mode == "factors" else ("factor",)),
        plot=changes,
        searched=searched,
        trials=_filled(result.trial_table()),
        most=MOST_TRIALS,
        importances=[{"of": name, "share": share} for name, share in result.importances.items()],
        links=links or {},
        facts={"written": written_now(), "study": result.study, **(facts or {})},
    )
    path = folder / "report.html"
    write_text(path, page)
    return path


def _filled(rows: Sequence[Row], without: Sequence[str] = ()) -> list[Row]:
    """The rows without the columns that are empty in all of them."""
    return [
        {name: value for name, value in row.items() if name not in without and any(other[name] != "" for other in rows)}
        for row in rows
    ]


def sweep_markdown(result: SweepResult) -> str:
    """A sweep for a Prefect artifact: the sentence, and the table."""
    rows = result.table()
    columns = ("change", "mean", "difference", "p_value", "verdict", "seeds", "reason")
    lines = [
        " | ".join(columns),
        " | ".join("---" for _ in columns),
        *(" | ".join(escape(row[name]) for name in columns) for row in rows),
    ]
    noise = (
        ""
        if result.noise is None
        else f"Validation {escape(result.metric)}; differences up to ± {result.noise:.4f} are noise.\n\n"
    )
    return f"# {escape(headline(result))}\n\n{noise}" + "\n".join(f"| {line} |" for line in lines)


def headline(result: SweepResult) -> str:
    """What came of a sweep, in a sentence."""
    better = [row for row in result.rows if row.verdict == "better"]
    if better:
        best = next(row for row in better if row.change == result.best)
        return f"{best.change}: {result.metric} {best.difference:+.3f}"
    pending = any(row.verdict == "pending" for row in result.rows) or result.noise is None
    return "Not every training has ended" if pending else "Nothing is better than the target as it is"
