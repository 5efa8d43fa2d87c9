"""The folders of runs that have ended: found by name, and told in a line."""

from __future__ import annotations

import json
from pathlib import Path

from firstfault.errors import FirstfaultError
from firstfault.values import Json

HEADLINES = ("sweep.json", "alignment.json")
"""What came of a run that has no verdict."""


def named(run: str, runs: Path) -> Path:
    """The folder of a run: `last`, a path, or the beginning of its name among `runs`.

    Raises:
        FirstfaultError: where there is none.
    """
    if Path(run).is_dir():
        return Path(run)
    known = sorted(path for path in runs.iterdir() if path.is_dir()) if runs.is_dir() else []
    chosen = known[-1:] if run == "last" else [path for path in known if path.name.startswith(run)]
    if not chosen:
        raise FirstfaultError(f"there is no run {run!r} in {runs}")
    return chosen[0]


def report_of(folder: Path) -> Path:
    """The report of a run.

    Raises:
        FirstfaultError: where the run wrote none.
    """
    file = folder / "report.html"
    if not file.is_file():
        raise FirstfaultError(f"{folder} must hold a report.html, but the run did not get that far")
    return file


def headline(folder: Path) -> str:
    """What came of a debug run, a sweep, or an evaluation of alignment.

    Raises:
        FirstfaultError: where its file is missing or torn.
    """
    told = [name for name in HEADLINES if (folder / name).is_file()]
    file = folder / (told[0] if told else "verdict.json")
    try:
        return _headline(json.loads(file.read_text()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FirstfaultError(
            f"{file} must hold what came of the run, but it can't be read: {type(error).__name__}"
        ) from error


def _headline(values: Json) -> str:
    if "headline" in values:
        return f"{values['target']}: {values['headline']}"
    faults = ", ".join(fault["fault"] for fault in values["faults"]) or "no fault"
    muted = f"; muted: {', '.join(values['muted'])}" if values.get("muted") else ""
    return f"{values['target']}: {values['status']} ({faults}{muted})"
