"""What a layer's findings left in the run's folder: pictures, shown in the page, and the first rows of tables."""

from __future__ import annotations

import base64
import csv
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from firstfault.charts.files import size_of
from firstfault.finding import Finding, LayerReport, Status

MOST_ROWS, MOST_COLUMNS = 10, 24
MOST_BYTES, MOST_IN_ALL = 400_000, 1_600_000
LARGEST_TABLE = 20_000_000
WIDE = 660
PNG, SVG = b"\x89PNG\r\n\x1a\n", b"<svg "
NUMBER = re.compile(r"[-−+]?\d[\d,]*(\.\d+)?([eE][-+]?\d+)?%?")
ORDER = (Status.FAIL, Status.ERROR, Status.WARN, Status.PASS, Status.SKIPPED)


@dataclass(frozen=True)
class Picture:
    """An SVG or PNG of the run's folder as a data URL, with the finding that named it.

    A `wide` one takes the whole width of the page.
    """

    name: str
    url: str
    finding: Finding
    wide: bool

    @property
    def title(self) -> str:
        """The file's name in words."""
        return in_words(self.name)


@dataclass(frozen=True)
class Table:
    """The first rows of a CSV of the run's folder.

    `total` counts its rows, and `more` the columns that are not shown.
    """

    name: str
    heading: list[str]
    rows: list[list[str | float]]
    total: int
    more: int
    finding: Finding
    numeric: list[bool]

    @property
    def title(self) -> str:
        """The file's name in words."""
        return in_words(self.name)


def in_words(name: str) -> str:
    """`class_balance.png` as `Class balance`."""
    words = Path(name).stem.replace("_", " ").replace("-", " ")
    return words[:1].upper() + words[1:]


class Attachments:
    """The pictures and tables of a run's folder.

    Pictures share one allowance of bytes, so that the page stays small.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder, self.left = folder, MOST_IN_ALL

    def pictures(self, report: LayerReport) -> list[Picture]:
        """The SVGs and PNGs that a layer's findings name, those of the bad ones first."""
        named = _named(report, (".svg", ".png"))
        return [picture for name, finding in named if (picture := self._picture(name, finding)) is not None]

    def tables(self, report: LayerReport) -> list[Table]:
        """The CSVs that a layer's findings name, those of the bad ones first."""
        named = _named(report, (".csv",))
        return [table for name, finding in named if (table := self._table(name, finding)) is not None]

    def _picture(self, name: str, finding: Finding) -> Picture | None:
        path = self._path(name)
        if path is None or path.stat().st_size > min(MOST_BYTES, self.left):
            return None
        data = path.read_bytes()
        if not data.startswith((PNG, SVG)):
            return None
        self.left -= len(data)
        kind, width = ("png", int.from_bytes(data[16:20])) if data.startswith(PNG) else ("svg+xml", _width(data))
        address = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
        return Picture(name, address, finding, width > WIDE)

    def _table(self, name: str, finding: Finding) -> Table | None:
        path = self._path(name)
        if path is None or path.stat().st_size > LARGEST_TABLE:
            return None
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            try:
                lines = csv.reader(file)
                heading = next(lines, [])
                rows = list(itertools.islice(lines, MOST_ROWS))
                total = len(rows) + sum(1 for _ in lines)
            except csv.Error:
                return None
        if not heading:
            return None
        numeric = [_is_numeric([row[place] for row in rows if place < len(row)]) for place in range(len(heading))]
        shown = [
            [_value(value, known) for value, known in zip(row[:MOST_COLUMNS], numeric, strict=False)] for row in rows
        ]
        return Table(name, heading[:MOST_COLUMNS], shown, total, max(0, len(heading) - MOST_COLUMNS), finding, numeric)

    def _path(self, name: str) -> Path | None:
        """A file of the folder itself; no name leads out of it."""
        if self.folder is None or Path(name).name != name:
            return None
        path = self.folder / name
        return path if path.is_file() else None


def _width(svg: bytes) -> float:
    return size_of(svg.decode("utf-8", errors="replace"))[0]


def _named(report: LayerReport, suffixes: tuple[str, ...]) -> Iterator[tuple[str, Finding]]:
    """Every file of those kinds with the first finding that names it, the worst findings first."""
    seen: dict[str, Finding] = {}
    for status in ORDER:
        for finding in report.findings:
            if finding.status is status:
                for name in finding.artifacts:
                    if name.lower().endswith(suffixes):
                        seen.setdefault(name, finding)
    yield from seen.items()


def _is_numeric(values: list[str]) -> bool:
    known = [value for value in values if value.strip()]
    return bool(known) and all(NUMBER.fullmatch(value.strip()) for value in known)


def _value(text: str, numeric: bool) -> str | float:
    """A number as such, so that it is shown in a few digits; whole numbers and texts as they are written."""
    return (
        float(text)
        if numeric and ("." in text or "e" in text.lower()) and "," not in text and "%" not in text and "−" not in text
        else text
    )
