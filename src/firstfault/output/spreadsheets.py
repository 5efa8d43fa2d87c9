"""Tables that a person opens in a spreadsheet: a text that would be a formula there is marked as text, by an apostrophe
before it.

Source: OWASP, CSV Injection. Numbers stay numbers, also those that were read as texts.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from firstfault.output.whole_files import replacing

if TYPE_CHECKING:
    import pandas as pd

FORMULA = re.compile(r"\s*[=+\-@＝＋－＠]|[\t\r\n]")
NUMBER = re.compile(r"\s*[-+]?(\d[\d,]*(\.\d*)?|\.\d+)([eE][-+]?\d+)?\s*%?")


def as_text(value: object) -> object:
    """A text that begins like a formula with an apostrophe before it; any other value as it is."""
    if isinstance(value, str) and FORMULA.match(value) and not NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def write_rows(path: Path, heading: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a heading and rows as CSV, whole or not at all."""
    with replacing(path) as draft, draft.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file)
        writer.writerow([as_text(name) for name in heading])
        writer.writerows([_cell(value) for value in row] for row in rows)


def write_frame(path: Path, frame: pd.DataFrame, *, float_format: str | None = None) -> None:
    """Write a frame without its index as CSV, whole or not at all."""
    import pandas as pd

    safe = frame.copy(deep=False)
    for place, kind in enumerate(frame.dtypes):
        if not _is_plain(kind):
            # or whole numbers become floats
            cells = pd.Series([_cell(value) for value in frame.iloc[:, place]], dtype=object)
            safe.isetitem(place, cells.to_numpy())
    safe.columns = pd.Index([_cell(name) for name in frame.columns])
    with replacing(path) as draft:
        safe.to_csv(draft, index=False, float_format=float_format, encoding="utf-8", errors="backslashreplace")


def _is_plain(kind: object) -> bool:
    """Whether a column of this type has numbers, truth values or times alone."""
    return getattr(kind, "kind", "O") in "biufcmM" and str(kind) != "category"


def _cell(value: object) -> object:
    """A cell; what is neither text nor number is written as its text, which may begin like a formula too."""
    if value is None or isinstance(value, str | int | float | complex) or not hasattr(type(value), "__iter__"):
        return as_text(value)
    text = str(value)
    return value if as_text(text) is text else as_text(text)
