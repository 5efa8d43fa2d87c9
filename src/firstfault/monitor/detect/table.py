"""Requests as columns: numbers, categories, and the marks of texts and arrays, each under the name of its field."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np

from firstfault.metrics import Array
from firstfault.monitor.detect.asked import number
from firstfault.monitor.detect.marks import ARRAY_MARKS, TEXT_MARKS, Letters, of_array, of_text, script_of

MOST_COLUMNS = 120
"""More would cost each request more than 50 µs."""
MOST_CATEGORIES = 60
"""More values are names, or free text."""
ITEMS_AS_COLUMNS = 100
"""A flat list of at most so many numbers is as many columns; a longer one is an array."""
COMMON = 0.9
"""A field belongs to the table where so many requests of the reference have it."""
ONE_KIND = 0.9
"""A field of several types is no column."""
RAREST_WORD, COMMONEST_WORD, MOST_WORDS = 0.02, 0.6, 100
"""Rarer words are in too few texts to learn from, commoner ones say nothing."""
NUMBERS = frozenset({float, int})
"""Truth values are no numbers."""
LONG_TEXT = 20
"""The mean length of a column's texts from which on they are language, where few of them are equal."""


def fields_of(row: Any) -> dict[str, Any]:
    """A request's input as named values; nested mappings by their path, a text or an array under one name."""
    if isinstance(row, dict):
        if dict not in map(type, row.values()):
            return row
        found: dict[str, Any] = {}
        for name, value in row.items():
            if isinstance(value, dict):
                found.update({f"{name}.{below}": item for below, item in fields_of(value).items()})
            else:
                found[str(name)] = value
        return found
    if (
        isinstance(row, list)
        and len(row) <= ITEMS_AS_COLUMNS
        and not any(isinstance(item, list | dict) for item in row)
    ):
        return {str(place): value for place, value in enumerate(row)}
    return {} if row is None else {"input": row}


def kind_of(value: Any) -> str:
    """What a value is: number, text, array, truth or nothing."""
    kind = type(value)
    if kind is float or kind is int:
        return "number"
    if kind is str:
        return "text"
    if kind is bool:
        return "truth"
    return "nothing" if value is None else "array" if kind is list else "other"


@dataclass(frozen=True)
class Column:
    """One field as the reference has it."""

    name: str
    kind: str
    """number, category, text or array"""
    share: float
    """Of the requests of the reference that have it."""
    known: frozenset[str] = frozenset()
    """Its categories; the scripts of a text, the shapes of an array."""
    letters: Letters | None = None
    words: tuple[str, ...] = ()
    """The words of a text that say most of it; the places of an array that is small enough to be looked at whole."""


class Schema:
    """The columns of a table, learned from requests."""

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        values: dict[str, list[Any]] = {}
        for row in rows:
            for name, value in row.items():
                values.setdefault(name, []).append(value)
        self.columns = [
            column
            for name, found in list(values.items())[:MOST_COLUMNS]
            if (column := _column(name, found, len(found) / max(1, len(rows)))) is not None
        ]
        self.fields = {name for name, found in values.items() if len(found) >= COMMON * len(rows)}
        self.kinds = {name: frozenset(map(kind_of, found)) for name, found in values.items()}
        self.categories = [column for column in self.columns if column.kind == "category"]
        self.numbers = [name for column in self.columns for name in _numbers_of(column)]

    def table(self, rows: Sequence[Mapping[str, Any]]) -> Array:
        """The numbers `(N, D)` of requests, NaN where there is none; columns are `numbers`."""
        parts = [_values(column, values) for column, values in zip(self.columns, self._cells(rows), strict=True)]
        kept = [part for part in parts if part is not None]
        return np.concatenate(kept, axis=1) if kept else np.zeros((len(rows), 0))

    def indicators(self, rows: Sequence[Mapping[str, Any]]) -> Array:
        """One column `(N, C)` of 0 and 1 for each known category and common word; and the items of small arrays."""
        parts = [np.zeros((len(rows), 0))]
        for column in self.columns:
            if column.kind == "number":
                continue
            values = [row.get(column.name) for row in rows]
            if column.kind == "category":
                texts = np.array([str(value) for value in values], dtype=object)
                parts += [(texts == known).astype(float)[:, None] for known in sorted(column.known)]
            elif column.words:
                parts.append((_said if column.kind == "text" else _items)(values, column.words))
        return np.concatenate(parts, axis=1)

    def _cells(self, rows: Sequence[Mapping[str, Any]]) -> Sequence[Sequence[Any]]:
        """The values of each column, None where a row has none; row after row, as they lie in memory."""
        if not rows or not self.columns:
            return [()] * len(self.columns)
        names = [column.name for column in self.columns]
        picked = itemgetter(*names, names[0])  # of a single name, it would give no tuple

        def cells(row: Mapping[str, Any]) -> tuple[Any, ...]:
            try:
                return picked(row)  # type: ignore[no-any-return]
            except KeyError:
                return (*map(row.get, names), None)

        return list(zip(*map(cells, rows), strict=True))[:-1]

    @property
    def feature_fields(self) -> list[str]:
        """The field of each column of `table`, then of `indicators`."""
        numbers = [column.name for column in self.columns for _ in _numbers_of(column)]
        return numbers + [
            column.name
            for column in self.columns
            for _ in (column.known if column.kind == "category" else column.words)
        ]


def _column(name: str, values: list[Any], share: float) -> Column | None:
    kinds = Counter(map(kind_of, values))
    kinds.pop("nothing", None)
    if not kinds:
        return None
    kind, count = kinds.most_common(1)[0]
    if count < ONE_KIND * sum(kinds.values()):
        return None
    known = [value for value in values if kind_of(value) == kind]
    if kind == "number":
        return Column(name, "number", share)
    if kind == "array":
        shapes = frozenset(map(_shape, known))
        size = math.prod(map(int, next(iter(shapes)).split("×"))) if len(shapes) == 1 and "" not in shapes else 0
        places = tuple(map(str, range(size if size <= ITEMS_AS_COLUMNS else 0)))
        return Column(name, "array", share, shapes, words=places)
    if kind in ("text", "truth"):
        return _texts(name, [str(value) for value in known], share)
    return None


def _texts(name: str, texts: list[str], share: float) -> Column | None:
    different = set(texts)
    if len(different) <= min(MOST_CATEGORIES, len(texts) / 4):
        return Column(name, "category", share, frozenset(different))
    if sum(map(len, texts)) < LONG_TEXT * len(texts):
        return None  # names and ids: each is new
    return Column(name, "text", share, frozenset(map(script_of, texts)), Letters(texts), _common_words(texts))


def _common_words(texts: list[str]) -> tuple[str, ...]:
    """Words that some texts have, and others not, the commonest first."""
    counts = Counter(word for text in texts for word in set(text.lower().split()))
    low, high = RAREST_WORD * len(texts), COMMONEST_WORD * len(texts)
    return tuple(word for word, n in counts.most_common() if low <= n <= high)[:MOST_WORDS]


def _said(values: list[Any], words: tuple[str, ...]) -> Array:
    places = {word: place for place, word in enumerate(words)}
    found = np.zeros((len(values), len(words)))
    for at, value in enumerate(values):
        if isinstance(value, str):
            found[at, [places[word] for word in set(value.lower().split()) if word in places]] = 1.0
    return found


def _items(values: list[Any], places: tuple[str, ...]) -> Array:
    """The items of arrays `(N, P)`; NaN of one that has another shape."""
    found = np.full((len(values), len(places)), math.nan)
    for at, value in enumerate(values):
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            items = np.asarray(value, dtype=float).ravel()
            if len(items) == len(places):
                found[at] = items
    return found


def _shape(array: Any) -> str:
    shape = []
    while isinstance(array, list):
        shape.append(len(array))
        array = array[0] if array else None
    return "×".join(map(str, shape))


shape_of = _shape


def _numbers_of(column: Column) -> list[str]:
    if column.kind == "number":
        return [column.name]
    marks = {"text": TEXT_MARKS, "array": ARRAY_MARKS}.get(column.kind, ())
    return [f"{column.name}: {mark}" for mark in marks]


def _values(column: Column, values: Sequence[Any]) -> Array | None:
    if column.kind == "number":
        if not NUMBERS.issuperset(map(type, values)):
            values = [value if type(value) in NUMBERS else math.nan for value in values]
        return _finite(_floats(values))[:, None]
    if column.kind == "text" and column.letters is not None:
        nothing = (math.nan,) * len(TEXT_MARKS)
        return np.array([of_text(value, column.letters) if isinstance(value, str) else nothing for value in values])
    if column.kind == "array":
        return np.array([_marks(value) for value in values])
    return None


def _floats(values: Sequence[float]) -> Array:
    try:
        return np.array(values, dtype=float)
    except OverflowError:
        return np.array([number(value) for value in values])


def _marks(value: Any) -> tuple[float, ...]:
    try:
        return of_array(value)
    except (TypeError, ValueError, OverflowError):  # ragged, no numbers, or too large ones
        return (math.nan,) * len(ARRAY_MARKS)


def _finite(values: Array) -> Array:
    values[~np.isfinite(values)] = math.nan
    return values
