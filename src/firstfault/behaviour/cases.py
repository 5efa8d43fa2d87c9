"""Cases: failures of production, each kept with what is needed to ask them again: requests, right answers, verdict.

    cases/2026-11-29-a1b2/
    ├── case.json         what it was, how it was told, and how many of the answers have to be right
    └── requests.jsonl    a request in each line: what was asked, and what is right at each cut

They are files, so that they can be read, reviewed and kept beside the code that they test.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from firstfault.errors import TargetError, first_line
from firstfault.output.whole_files import write_bytes, write_text
from firstfault.target.loader import split_spec

FOLDER, CASE, REQUESTS = "cases", "case.json", "requests.jsonl"
"""A target's own cases lie in the folder of that name beside its file."""


class Asked(StrEnum):
    """What shows whether the fault of a case is still there."""

    ANSWERS = "answers"
    """The same requests are to get the right answers, or, where they can't be answered rightly, to be refused."""
    TRUTH = "truth"
    """The model is to be right about them as often as it usually is, by the labels that came."""
    REFUSALS = "refusals"
    """What was to be refused is to be refused, and nothing else."""
    NOTHING = "nothing"
    """No request shows it: it lay in how the server ran, or in how it was seen."""


class Request(msgspec.Struct, frozen=True, omit_defaults=True):
    """One request of a case. Personal values are masked."""

    id: str
    raw: Any
    expected: dict[str, Any] = {}
    """What is right at the cuts `tensor`, `logits` and `label`."""
    served: Any = None
    """What was answered then."""
    refusable: bool = False
    """Whether refusing it is right, too: it should not have been sent."""
    healthy: bool = False
    """Whether it is of the healthy ones, which are to be answered as they were."""


class Case(msgspec.Struct, frozen=True, omit_defaults=True):
    """One failure."""

    id: str
    model: str
    monitor: str
    message: str
    asked: Asked
    least: float
    """The least share of right answers, 0–1."""
    layer: str = ""
    fault: str = ""
    place: str = ""
    remedy: str = ""
    proven: bool = False
    why: str = ""
    """Why nothing is asked, where that is so."""
    target: str = ""
    """The target's file as seen from the folder of the cases, `file.py` or `file.py:name`."""
    kept: str = ""
    """When, as ISO 8601."""
    began: float = 0.0
    closed: float | None = None

    @property
    def name(self) -> str:
        """What it is, in a few words."""
        what = f"{self.layer}: {self.fault}" if self.fault else self.monitor
        return f"{what} at {self.place}" if self.place else what


def keep(case: Case, requests: Sequence[Request], folder: Path) -> Path:
    """Write a case into its folder within `folder`; what was there of it is replaced."""
    place = folder / case.id
    place.mkdir(parents=True, exist_ok=True)
    lines = b"".join(msgspec.json.encode(request, enc_hook=str) + b"\n" for request in requests)
    write_bytes(place / REQUESTS, lines, private=False)
    write_text(place / CASE, msgspec.json.format(msgspec.json.encode(case)).decode() + "\n", private=False)
    return place


def read(place: Path) -> Case:
    """The case of a folder.

    Raises:
        TargetError: when its file can't be read as one.
    """
    try:
        return msgspec.json.decode((place / CASE).read_bytes(), type=Case)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
        raise TargetError(f"{place / CASE} must be a case that firstfault kept, but: {first_line(error)}") from error


def requests_of(place: Path) -> list[Request]:
    """The requests of a case.

    Raises:
        TargetError: when they can't be read.
    """
    try:
        lines = (place / REQUESTS).read_bytes().splitlines()
        return [msgspec.json.decode(line, type=Request) for line in lines if line.strip()]
    except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
        raise TargetError(f"{place / REQUESTS} must hold a request in each line, but: {first_line(error)}") from error


def target_of(place: Path, case: Case) -> str:
    """The target of a case that lies in a folder, as it is found from anywhere."""
    where, name = split_spec(case.target)
    return f"{(place.parent / where).resolve()}:{name}" if "/" in where or where.startswith(".") else case.target


def cases_in(folder: Path) -> Iterator[tuple[Path, Case]]:
    """The cases of a folder, which may be one itself, by their ids.

    Raises:
        TargetError: when one of them can't be read.
    """
    places = [folder] if (folder / CASE).is_file() else sorted(path.parent for path in folder.glob(f"*/{CASE}"))
    for place in places:
        yield place, read(place)


def holds_cases(folder: Path) -> bool:
    """Whether a path is a folder of cases, or one case."""
    return folder.is_dir() and next(cases_in_names(folder), None) is not None


def cases_in_names(folder: Path) -> Iterator[Path]:
    """The folders of cases, unread."""
    yield from ([folder] if (folder / CASE).is_file() else (path.parent for path in folder.glob(f"*/{CASE}")))
