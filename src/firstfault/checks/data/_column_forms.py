"""Marks of form: fields that went or were renamed, values of another type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from firstfault.checks.data._column_marks import ABSENT, OFTEN, RARE, Column, Mark, absent, missing, share_of
from firstfault.subject.likeness import distance
from firstfault.subject.raw_rows import Row
from firstfault.values import is_finite


def renamed_fields(columns: Sequence[Column]) -> list[Mark]:
    """Fields that went while others came: those whose values are alike are one that was renamed; others just went."""
    gone = [c for c in columns if share_of(c.after, absent) > OFTEN > RARE >= share_of(c.before, absent)]
    came = [c for c in columns if share_of(c.before, absent) >= 1 - RARE and share_of(c.after, absent) < 1 - OFTEN]
    marks = []
    for column in gone:
        twin = min(came, key=lambda other: _unlike(column.before, other.after), default=None)
        if twin is not None and _unlike(column.before, twin.after) < 0.5:
            came.remove(twin)
            marks.append(_rename(column, twin))
        else:
            marks.append(_gone(column))
    return marks


def _unlike(before: Sequence[Any], after: Sequence[Any]) -> float:
    """How unlike the present values of two columns are, 0–1; 1 where they are of other types."""
    first = [value for value in before if value is not ABSENT and value is not None]
    second = [value for value in after if value is not ABSENT and value is not None]
    if not first or not second:
        return 1.0
    if all(map(is_finite, first)) and all(map(is_finite, second)):
        return distance(np.array(first, float), np.array(second, float))
    one, other = Counter(map(str, first)), Counter(map(str, second))
    return 1 - sum(min(one[key] / len(first), other[key] / len(second)) for key in one)


def _rename(column: Column, twin: Column) -> Mark:
    def undo(row: Row, generator: np.random.Generator) -> Row:
        back = {name: value for name, value in row.items() if name != twin.name}
        return {**back, column.name: row[twin.name]} if twin.name in row else row

    share = share_of(column.after, absent)
    message = f"{share:.0%} of the requests have no {column.name}, and a {twin.name} of like values instead"
    return Mark(f"{column.name} → {twin.name}", {"schema_change": 0.8}, message, share, undo, tolerated=True)


def _gone(column: Column) -> Mark:
    def undo(row: Row, generator: np.random.Generator) -> Row:
        return row if column.name in row else {**row, column.name: column.draw(generator)}

    share = share_of(column.after, absent)
    message = f"{share:.0%} of the requests have no {column.name}, which all of the control have"
    return Mark(column.name, {"schema_change": 0.8}, message, share, undo, tolerated=True)


def _kind(value: Any) -> str:
    if value is ABSENT or missing(value):
        return ""
    if isinstance(value, bool):
        return "truth value"
    return "number" if isinstance(value, int | float) else "text" if isinstance(value, str) else type(value).__name__


def typed(column: Column) -> Mark | None:
    kinds = Counter(filter(None, map(_kind, column.before)))
    if not kinds:
        return None
    usual = kinds.most_common(1)[0][0]
    new = [_kind(value) for value in column.after if _kind(value) and kinds[_kind(value)] <= RARE * len(column.before)]
    share = len(new) / len(column.after)
    if share < OFTEN:
        return None
    named = Counter(new).most_common(1)[0][0]

    known = {value for value in (*column.before, *column.known) if isinstance(value, str)}

    def undo(row: Row, generator: np.random.Generator) -> Row:
        value = row.get(column.name, ABSENT)
        if _kind(value) in ("", usual):
            return row
        parsed = _parsed(value, usual)
        strange = parsed is None or (usual == "text" and parsed not in known)
        return {**row, column.name: column.draw(generator) if strange else parsed}

    message = f"{column.name} is a {named} in {share:.0%} of the requests, and a {usual} in the control"
    return Mark(column.name, {"type_change": 0.8}, message, share, undo, tolerated=True)


def _parsed(value: Any, kind: str) -> Any:
    """A value in the type that it was, where it says the same."""
    if kind == "number":
        if isinstance(value, bool):
            return int(value)
        try:
            return float(str(value).replace(" ", "").replace(",", "."))
        except ValueError:
            return None
    if kind == "text":
        return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    return bool(value) if kind == "truth value" else None
