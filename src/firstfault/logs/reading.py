"""The lines of one trace, run or incident, out of all log files of a state folder, in the order of time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from firstfault.logs.log_file import SUFFIX
from firstfault.values import Json

BEGIN = b'{"@timestamp"'
PLACES = (f"logs/*{SUFFIX}", f"logs/*/*{SUFFIX}", f"runs/*/log*{SUFFIX}")
"""Where in a state folder log files lie: those of `setup()`, of services in folders of their own, and of runs."""


@dataclass(frozen=True)
class Wanted:
    """The ids that a line must have, all of those that are given."""

    trace: str | None = None
    run: str | None = None
    incident: str | None = None

    def fits(self, line: Json) -> bool:
        """Whether a line has them."""
        labels = line.get("labels")
        own = labels if isinstance(labels, dict) else {}
        pairs = (
            (self.trace, line.get("trace.id")),
            (self.run, own.get("run_id")),
            (self.incident, own.get("incident_id")),
        )
        return all(asked is None or asked == has for asked, has in pairs)

    def __str__(self) -> str:
        return " and ".join(f"{name} {value}" for name, value in vars(self).items() if value is not None)


@dataclass
class Found:
    """Lines in the order of time, how many files were read, and what could not be."""

    lines: list[dict[str, Any]] = field(default_factory=list)
    files: int = 0
    broken: int = 0
    unread: list[str] = field(default_factory=list)


def find(home: Path, wanted: Wanted, folder: Path | None = None) -> Found:
    """The lines with the wanted ids in the log files of a state folder, or in those of another folder."""
    found = Found()
    needles = [value.encode() for value in vars(wanted).values() if value is not None]
    for file in sorted(_files(home, folder)):
        try:
            for raw in _lines(file, needles):
                _take(raw, wanted, found)
            found.files += 1
        except OSError as error:
            found.unread.append(f"{file}: {error.strerror}")
    found.lines.sort(key=lambda line: str(line.get("@timestamp")))
    return found


def _files(home: Path, folder: Path | None) -> Iterable[Path]:
    if folder is not None:
        return folder.rglob(f"*{SUFFIX}")
    return (file for place in PLACES for file in home.glob(place))


def _lines(file: Path, needles: list[bytes]) -> Iterator[bytes]:
    with file.open("rb") as lines:
        for line in lines:
            if all(needle in line for needle in needles):
                yield line


def _take(raw: bytes, wanted: Wanted, found: Found) -> None:
    """Read a line; behind one that was torn by a full disk or a kill there may be a whole one."""
    try:
        line = json.loads(raw[max(raw.rfind(BEGIN), 0) :])
    except ValueError:
        found.broken += 1
        return
    if isinstance(line, dict) and wanted.fits(line):
        found.lines.append(line)
