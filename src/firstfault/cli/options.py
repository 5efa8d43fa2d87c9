"""What the commands share: their options, the values that options may have, exit codes, and sentences for bad calls."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from firstfault.output.escaping import visible
from firstfault.output.whole_files import write_json as write_whole

if TYPE_CHECKING:
    from firstfault.verdict import Verdict

EXIT_HEALTHY, EXIT_FAULTY, EXIT_BAD_CALL, EXIT_FAILED, EXIT_UNDECIDED, EXIT_INTERRUPTED = 0, 1, 2, 3, 4, 130
"""What CI tells apart (docs/ci.md); the last is what shells give for SIGINT."""
LAST_PORT = 65535
"""The highest that TCP has."""


class DepthName(StrEnum):
    """How much a run may cost."""

    QUICK = "quick"
    STANDARD = "standard"
    DEEP = "deep"


class ConsentName(StrEnum):
    """Whether a script may be run again; without a terminal, nobody can be asked, and it is not."""

    ASK = "ask"
    YES = "yes"
    NO = "no"


class EngineName(StrEnum):
    """Where the trainings of a sweep run."""

    THREADS = "threads"
    PROCESSES = "processes"
    RAY = "ray"


class FormatName(StrEnum):
    """What other tools read of a verdict."""

    GITHUB = "github"
    SARIF = "sarif"
    JUNIT = "junit"


def writable_file(path: Path | None) -> Path | None:
    """A file that can be written at the end of a run, looked at before its start."""
    if path is None:
        return None
    if path.is_dir():
        raise typer.BadParameter(f"it must be a file, but {path} is a folder")
    if not path.absolute().parent.is_dir():
        raise typer.BadParameter(f"its folder must exist, but there is no {path.absolute().parent}")
    if not os.access(path, os.W_OK) if path.exists() and not path.is_file() else not _replaceable(path):
        raise typer.BadParameter(f"it must be writable, but {path} is not")
    return path


def _replaceable(path: Path) -> bool:
    """Whether a file can be written beside the place and renamed into it; a file that is read-only is left alone."""
    return os.access(path.resolve().parent, os.W_OK) and (not path.exists() or os.access(path, os.W_OK))


TargetArgument = Annotated[
    str, typer.Argument(help="file.py:name (:target by default) or module:name", metavar="TARGET")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="K=V", help="override a field, e.g. training.epochs=3")
]
MuteOption = Annotated[
    list[str] | None,
    typer.Option(
        "--mute",
        metavar="CHECK[:PLACE][=REASON]",
        help="judge no such check, or none at that place; the verdict says so",
    ),
]
BareOption = Annotated[bool, typer.Option("--bare", help="record no flow run, even where a Prefect server is known")]
JsonOption = Annotated[
    Path | None, typer.Option("--json", callback=writable_file, help="write the result to this file, as JSON")
]

FormatOption = Annotated[
    FormatName | None,
    typer.Option("--format", help="write annotations for this tool to standard output, or to --output"),
]
OutputOption = Annotated[
    Path | None, typer.Option("--output", callback=writable_file, help="write the annotations of --format to this file")
]


def file_of(target: str) -> str | None:
    """The file of `file.py:name`; None for a module."""
    file = target if Path(target).is_file() else target.rpartition(":")[0]
    return file if Path(file).is_file() else None


def pairs_of(options: list[str] | None) -> dict[str, str]:
    """`--set`'s K=V as a mapping."""
    pairs = {}
    for option in options or []:
        key, equals, value = option.partition("=")
        if not equals:
            refuse(f"--set must be K=V, but got {option!r}")
        pairs[key.strip()] = value
    return pairs


def mutes_of(options: list[str] | None) -> dict[str, str]:
    """`--mute`'s CHECK[:PLACE][=REASON] as overrides of the target."""
    pairs = {}
    for option in options or []:
        key, _, reason = option.partition("=")
        if not key.strip():
            refuse(f"--mute must be CHECK, CHECK:PLACE or one of these with =REASON, but got {option!r}")
        pairs[f"mute.{key.strip()}"] = reason.strip() or "on the command line"
    return pairs


def exit_code(verdict: Verdict) -> int:
    """The exit code that says what the verdict is."""
    known = {"healthy": EXIT_HEALTHY, "faulty": EXIT_FAULTY, "undecided": EXIT_UNDECIDED}
    return known.get(verdict.status.value, EXIT_FAILED)


def interrupted(kept: str) -> int:
    """The exit code after Ctrl-C, and a sentence about what is left; where a guard waits, the guard says it."""
    from firstfault.runs.guard import is_guarded

    if not is_guarded():
        typer.echo(f"firstfault: interrupted; {kept}", err=True)
    return EXIT_INTERRUPTED


def may_run_again(cost: object) -> bool:
    """Ask whether a script may be run again at that cost; where there is no terminal, it may not."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    return typer.confirm(f"firstfault: {cost}; run the script again to test, in a copy?", default=True)


def tell_step(event: object) -> None:
    """Write what takes long, on a terminal alone."""
    from firstfault.progress import Step

    if isinstance(event, Step) and sys.stderr.isatty():
        say(f"firstfault: {event.text}", err=True)


def say(text: str, *, err: bool = False) -> None:
    """Write a line that may have text of users and data."""
    typer.echo(visible(text), err=err)


def refuse(sentence: str) -> NoReturn:
    """End the command with a sentence about a bad call."""
    say(f"firstfault: {sentence}", err=True)
    raise typer.Exit(EXIT_BAD_CALL)


def write_json(file: Path | None, values: dict[str, Any]) -> None:
    """Write what came of a run, where that was asked for."""
    if file is None:
        return
    try:
        write_whole(file, values, private=False)
    except OSError as error:
        refuse(f"{file} could not be written ({error.strerror}); the run's folder has the same")
