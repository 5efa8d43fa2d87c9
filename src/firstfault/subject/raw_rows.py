"""A raw sample as a row of named columns, whatever form it came in, and what is masked in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

Row = dict[str, Any]
WIDEST = 200
"""Items of a list that stand for columns; a longer one is a picture, a text or a vector."""
TEXT = "text"
"""The name of the column that a text is by itself."""
MASKED = re.compile(r"•[0-9a-f]{10}$")


def rows_of(values: Sequence[Any]) -> list[Row]:
    """Raw samples as rows: those of a list have places for columns, a text is its only one; others have none."""
    return [row for value in values if (row := _row(value)) is not None]


def _row(value: Any) -> Row | None:
    if isinstance(value, dict):
        return {str(name): item for name, item in value.items()}
    if isinstance(value, str):
        return {TEXT: value}
    flat = isinstance(value, list | tuple) and value and not any(isinstance(item, list | dict) for item in value)
    return {f"[{place}]": item for place, item in enumerate(value)} if flat and len(value) <= WIDEST else None


def changed(value: Any, change: Callable[[Row], Row]) -> Any:
    """A raw sample in the form that it has, with its row changed; what is no row stays as it is."""
    row = _row(value)
    if row is None:
        return value
    row = change(row)
    if isinstance(value, str):
        return row[TEXT]
    return row if isinstance(value, dict) else list(row.values())


def masked_in(row: Any) -> list[str]:
    """The fields of a raw sample whose values were masked."""
    if not isinstance(row, dict):
        return ["request"] if isinstance(row, str) and MASKED.search(row) else []
    return [str(name) for name, value in row.items() if isinstance(value, str) and MASKED.search(value)]
