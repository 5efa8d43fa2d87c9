"""The commands about scorers: which there are, and what their verdicts are worth by people's labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from firstfault.cli.options import JsonOption, refuse, say, write_json

if TYPE_CHECKING:
    from firstfault.behaviour.audit import Audit
    from firstfault.behaviour.probes import Probe

scorers = typer.Typer(help="Know what a scorer's verdicts are worth.", no_args_is_help=True, rich_markup_mode=None)


@scorers.callback()
def group() -> None:
    """Know what a scorer's verdicts are worth."""


@scorers.command(name="list")
def list_() -> None:
    """List the scorers: what each measures, and its known error."""
    from firstfault.behaviour.scorers import SCORERS

    for scorer in SCORERS.values():
        say(f"{scorer.name:<12} {scorer.measures}; it {scorer.error}")


@scorers.command()
def audit(
    scorer: Annotated[
        str, typer.Argument(metavar="SCORER", help="a name of `scorers list`, file.py:name, or http://…/v1#criterion=…")
    ],
    labels: Annotated[Path, typer.Argument(metavar="LABELS.csv", help="answers, and people's labels on some or all")],
    answer: Annotated[str, typer.Option(help="the column of the answers")] = "answer",
    label: Annotated[
        str, typer.Option(help="the column of people's labels; empty where nobody said anything")
    ] = "label",
    positive: Annotated[
        list[str] | None, typer.Option(help="a label with which the scorer should pass it; else yes, true, 1")
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="the column of the prompts")] = None,
    expect: Annotated[str | None, typer.Option(help="the column of what is expected")] = None,
    stratum: Annotated[str | None, typer.Option(help="tell the error for each value of this column too")] = None,
    rate: Annotated[
        list[float] | None, typer.Option(min=0, max=1, help="what this rate, measured with it, would be corrected to")
    ] = None,
    probe: Annotated[
        int, typer.Option(min=0, help="ask a judge again on so many answers: other form, words, length, order; 0: none")
    ] = 50,
    json_file: JsonOption = None,
) -> None:
    """Compare a scorer with people: recall, specificity, agreement, what its rates are worth, and what moves it."""
    from firstfault.behaviour.audit import Columns, audited, read_labels, told_audit
    from firstfault.behaviour.judges import scorer_of
    from firstfault.behaviour.probes import probes

    columns = Columns(answer, label, prompt, expect, stratum, tuple(positive or ()))
    if (rows := read_labels(labels, columns)) and all(row.label is None for row in rows):
        refuse(f"{labels.name} must have labels in its column {label!r}, but all of them are empty")
    chosen = scorer_of(scorer)
    found = audited(chosen, rows)
    for line in told_audit(found, rate or ()):
        say(line)
    known = list(probes(chosen, rows[:: max(len(rows) // probe, 1)][:probe])) if probe else []
    for each in known:
        say(f"  {each}")
    write_json(json_file, _values(found, known, rate or ()))


def _values(found: Audit, known: list[Probe], rates: list[float] | tuple[float, ...]) -> dict[str, Any]:
    """What the audit found, as plain values."""
    errors = {"all": found.error, **found.strata}
    return {
        "scorer": found.scorer.name,
        "version": found.scorer.version,
        "measures": found.scorer.measures,
        "answers": found.answers,
        "unscored": found.unscored,
        "errors": {
            name: {kind: getattr(error, kind).to_json() for kind in ("recall", "specificity", "agreement")}
            for name, error in errors.items()
        },
        "measured": found.measured.to_json(),
        "corrected": found.corrected.to_json(),
        "rates": [{"measured": rate, "corrected": found.corrected_to(rate).to_json()} for rate in rates],
        "probes": {each.name: each.changed.to_json() if each.changed else {"skipped": each.skipped} for each in known},
    }
