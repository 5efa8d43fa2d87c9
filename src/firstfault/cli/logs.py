"""The command that shows the log lines of one trace, run or incident, across stages and processes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from firstfault.cli.options import JsonOption, refuse, say, write_json

if TYPE_CHECKING:
    from firstfault.logs.reading import Found

SHOWN_ALWAYS = ("run_id", "incident_id", "stage", "sample_share")
"""Labels that are asked for, or have a column of their own."""


def logs(
    trace: Annotated[str | None, typer.Option(metavar="ID", help="lines of this trace, or of this traceparent")] = None,
    run: Annotated[str | None, typer.Option(metavar="ID", help="lines of this run, or of the `last`")] = None,
    incident: Annotated[str | None, typer.Option(metavar="ID", help="lines of this incident")] = None,
    folder: Annotated[
        Path | None, typer.Option(metavar="DIR", help="look at the log files in this folder and below it alone")
    ] = None,
    json_file: JsonOption = None,
) -> None:
    """Show the log lines of one trace, run or incident across stages, in the order of time."""
    from firstfault.logs.reading import Wanted, find
    from firstfault.logs.trace_context import parse
    from firstfault.runs.folders import named
    from firstfault.runs.state import state_here

    if trace is None and run is None and incident is None:
        refuse("logs needs --trace, --run or --incident with an id")
    if folder is not None and not folder.is_dir():
        refuse(f"--folder must be a folder, but got {folder}")
    state = state_here()
    span = parse(trace)
    wanted = Wanted(span.trace_id if span else trace, named(run, state.runs).name if run == "last" else run, incident)
    found = find(state.home, wanted, folder)
    _say_unread(found)
    if not found.lines:
        refuse(f"no line of {wanted} is in the {found.files} log files of {folder or state.home}")
    if json_file is not None:
        write_json(json_file, {"wanted": str(wanted), "lines": found.lines, "broken": found.broken})
        return
    for line in found.lines:
        _show(line)


def _say_unread(found: Found) -> None:
    for why in found.unread:
        say(f"firstfault: could not read {why}", err=True)
    if found.broken:
        say(f"firstfault: {found.broken} lines were torn, and could not be read", err=True)


def _show(line: dict[str, Any]) -> None:
    """One line for a person: when, which stage, how grave, who, what; and below it what was raised."""
    labels = line.get("labels")
    own = labels if isinstance(labels, dict) else {}
    rest = " ".join(
        f"{name}={value}" for name, value in own.items() if not (name in SHOWN_ALWAYS or value in (None, "[]"))
    )
    stage = str(own.get("stage", "-"))
    words = [f"{line.get('@timestamp')}", f"{stage:<13}", f"{line.get('log.level')!s:<8}", f"{line.get('log.logger')}:"]
    say(" ".join([*words, str(line.get("message")), *([f"({rest})"] if rest else [])]))
    if trace := line.get("error.stack_trace"):
        say("\n".join(f"    {text}" for text in str(trace).rstrip().splitlines()))
