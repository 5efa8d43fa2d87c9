"""What a person sees in the terminal of a sweep that has ended."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from firstfault.values import Json


def show_sweep(console: Console, result: Json) -> None:
    """Print the table of a sweep, what the scores vary by, and where its report is."""
    title = Text(f"{result['target']}: {result['metric']} over the same seeds, changed and unchanged")
    table = Table(title=title, title_justify="left")
    for column in ("change", "mean", "difference", "p", "seeds", "verdict"):
        words = column in ("change", "verdict")
        table.add_column(
            column, no_wrap=not words, justify="left" if words else "right", min_width=12 if words else None
        )
    for row in result["rows"]:
        verdict = f"{row['verdict']}: {row['reason']}" if row["reason"] else str(row["verdict"])
        spread = f" ± {row['std']:.4f}" if isinstance(row["std"], float) else ""
        mean = f"{row['mean']:.4f}{spread}" if isinstance(row["mean"], float) else "–"
        table.add_row(
            Text(str(row["change"])),
            mean,
            _number(row["difference"], "+.4f"),
            _number(row["p_value"], ".3f"),
            str(row["seeds"]),
            Text(verdict),
        )
    console.print(table)
    if result["noise"] is not None:
        console.print(
            f"changes within ± {result['noise']:.4f} of the baseline are noise between seeds; best: {result['best']}",
            markup=False,
            highlight=False,
        )
    if shares := ", ".join(f"{name} {share:.0%}" for name, share in result["importances"].items()):
        console.print(f"the scores vary by {shares} (fANOVA)", markup=False, highlight=False)
    if result["left"]:
        console.print(
            f"{result['left']} trainings are left; `--resume` goes on with them", markup=False, highlight=False
        )
    console.print(f"report   {result['report']}", soft_wrap=True, markup=False, highlight=False)


def _number(value: object, form: str) -> str:
    return format(value, form) if isinstance(value, int | float) else "–"
