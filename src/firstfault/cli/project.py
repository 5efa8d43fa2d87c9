"""The commands about what lies in a project: its first target, its expectations, the checks, its runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from firstfault.cli.options import (
    EXIT_FAULTY,
    JsonOption,
    SetOption,
    TargetArgument,
    pairs_of,
    refuse,
    say,
    writable_file,
    write_json,
)
from firstfault.output.whole_files import write_text


def expect(
    target: TargetArgument,
    accept: Annotated[bool, typer.Option("--accept", help="approve the changes: write them to the file")] = False,
    set_: SetOption = None,
) -> None:
    """Write the expectations that the data suggest, or show what changed; exit 1 when changes await approval."""
    from firstfault.data.expectations.approval import propose
    from firstfault.target.loader import load_target
    from firstfault.target.locate import locate

    proposal = propose(load_target(locate(target), pairs_of(set_)))
    count = len(proposal.suite["expectations"])
    if proposal.new:
        proposal.write()
        say(f"wrote {count} expectations to {proposal.path}; review them, then set data.expectations to that file")
        return
    for change in proposal.changes:
        say(change)
    if not proposal.changes:
        say(f"{proposal.path} is what the data suggest: {count} expectations")
    elif accept:
        proposal.write()
        say(f"accepted {len(proposal.changes)} changes in {proposal.path}")
    else:
        say(f"{len(proposal.changes)} changes against {proposal.path}; `--accept` approves them")
        raise typer.Exit(EXIT_FAULTY)


def init(folder: Annotated[Path, typer.Argument(metavar="DIR", help="where to write target.py")]) -> None:
    """Write a small working target with comments."""
    from firstfault.runs.default_target import note_target, starter
    from firstfault.runs.state import state_here

    file = folder / "target.py"
    if file.exists():
        refuse(f"{file} must not exist yet, but it does; choose another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(file, starter(), private=False)
    except OSError as error:
        refuse(f"{folder} must be a folder that can be written, but: {error.strerror}")
    note_target(state_here(), f"{file.resolve()}:target")
    say(f"wrote {file}; next: firstfault debug {file}")


def checks(name: Annotated[str | None, typer.Argument(help="explain this check")] = None) -> None:
    """List the checks, or explain one with its thresholds and sources."""
    from firstfault.checks.catalogue import explain, listing

    text = listing() if name is None else explain(name)
    if text is None:
        refuse(f"there is no check {name!r}; `firstfault checks` lists them")
    typer.echo(text)


def compare(
    first: Annotated[str, typer.Argument(metavar="RUN", help="a run's folder, the beginning of its name, or `last`")],
    second: Annotated[str, typer.Argument(metavar="RUN", help="the run that is compared with it")] = "last",
    page: Annotated[
        Path | None, typer.Option(callback=writable_file, help="write the page with both runs' curves to this file")
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="open the page in a browser")] = False,
    json_file: JsonOption = None,
) -> None:
    """Lay two runs beside each other: verdicts, curves, and what changed in data, code and settings."""
    from firstfault.report.comparison import compared
    from firstfault.report.comparison_page import write_comparison
    from firstfault.runs.folders import named
    from firstfault.runs.state import state_here

    runs = state_here().runs
    found = compared(named(first, runs), named(second, runs))
    for line in found.lines:
        say(line)
    file = write_comparison(found, page or found.second.folder / "comparison.html")
    say(f"page {file}")
    write_json(json_file, found.to_json())
    if open_:
        typer.launch(str(file))


def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="a run's folder, its name, or `last`")] = "last",
    open_: Annotated[bool, typer.Option("--open", help="open it in a browser")] = False,
) -> None:
    """Say where a run's report is, with its verdict."""
    from firstfault.runs.folders import headline, named, report_of
    from firstfault.runs.state import state_here

    folder = named(run, state_here().runs)
    file = report_of(folder)
    say(f"{headline(folder)}\n{file}")
    if open_:
        typer.launch(str(file))
