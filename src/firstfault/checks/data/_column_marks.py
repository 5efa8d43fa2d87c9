"""A column on both sides of an incident, and a mark: what is other in it, and how it is undone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from firstfault.metrics import Array
from firstfault.subject.raw_rows import Row, changed
from firstfault.values import is_finite

Undo = Callable[[Row, np.random.Generator], Row]


ABSENT = object()


FEWEST = 20
"""Rows of a column on each side, below which nothing is said of it."""


RARE, OFTEN = 0.02, 0.05
"""A value, a type or an absence that 2 % of the control have is nothing new; a mark concerns 5 % of the incident."""


MOST_CATEGORIES = 200
"""Texts of more kinds are ids or free text, of which new ones come every day."""


@dataclass(frozen=True)
class Mark:
    """One thing that is other in an incident's column than in the control's.

    `faults` are what it is evidence for, `certain` says that it is a mark that no healthy change of traffic leaves.
    `undo` puts a row's value back; `tolerated` says that the training's steps would forgive what serving may not.
    """

    column: str
    faults: dict[str, float]
    message: str
    value: float
    undo: Undo
    certain: bool = True
    tolerated: bool = False
    alone: bool = False
    """Whether it is one only where other columns stay as they were: a promotion moves several."""

    @property
    def fault(self) -> str:
        """What it is evidence for in the first place."""
        return max(self.faults, key=lambda name: self.faults[name])


@dataclass(frozen=True)
class Column:
    """A column on both sides: values as they came, `ABSENT` where a row has none."""

    name: str
    before: list[Any]
    after: list[Any]
    known: list[Any]
    """What the training data hold of it, where there is a target."""
    several: int
    """How many columns are compared with it."""
    answers: frozenset[float] = frozenset()
    """What was answered in the time of the incident, where that is numbers."""

    def chunks(self) -> list[list[Any]]:
        """The control in parts as long as the incident, in the order of time: what a column does of itself."""
        size = min(len(self.after), len(self.before) // 3)
        return (
            [self.before[start : start + size] for start in range(0, size * (len(self.before) // max(size, 1)), size)]
            if size >= FEWEST
            else []
        )

    def numbers(self, values: Sequence[Any]) -> Array:
        """Those of some values that are numbers."""
        return np.array([value for value in values if is_finite(value)], dtype=float)

    def draw(self, generator: np.random.Generator) -> Any:
        """One of the control's values."""
        present = [value for value in self.before if value is not ABSENT and value is not None] or self.known
        return present[int(generator.integers(len(present)))] if present else None


def share_of(values: Sequence[Any], chosen: Callable[[Any], bool]) -> float:
    return sum(map(chosen, values)) / len(values) if values else 0.0


def missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def absent(value: Any) -> bool:
    return value is ABSENT


def present(values: Sequence[Any]) -> list[Any]:
    return [value for value in values if value is not ABSENT]


def plain_value(value: Any) -> Any:
    """A value as the key by which equal ones are counted."""
    if missing(value):
        return None
    return value if isinstance(value, int | float | str | bool) else str(value)


def drawn(column: Column, chosen: Callable[[Any], bool] | None = None) -> Undo:
    """Put a value of the control in place of a row's, or of those that are chosen."""

    def undo(row: Row, generator: np.random.Generator) -> Row:
        if chosen is not None and not chosen(row.get(column.name, ABSENT)):
            return row
        return {**row, column.name: column.draw(generator)}

    return undo


def put_back(value: Any, marks: Sequence[Mark], generator: np.random.Generator) -> Any:
    """A raw sample in which what marks tell of is undone, one after the other."""

    def undone(row: Row) -> Row:
        for mark in marks:
            row = mark.undo(row, generator)
        return row

    return changed(value, undone)
