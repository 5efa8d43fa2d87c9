"""Raw inputs as sequences of units: words of a text, letters of a name, tokens of a list, ids before the padding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from torch import nn

from firstfault.checks.data._contents import wordings
from firstfault.data.splits import to_array
from firstfault.subject.rerun import Array
from firstfault.subject.subject import Subject


class Sequences(NamedTuple):
    """Rows as lists of units (words of a text, tokens of a list), and `of`, which makes raw inputs of such lists."""

    units: list[list[Any]]
    of: Callable[[list[list[Any]]], Any]


def sequences_of(subject: Subject, X: Any) -> Sequences | None:
    """Raw inputs as sequences; None for inputs that are none."""
    if isinstance(X, pd.DataFrame):
        column = _text_column(X)
        return _letters(X) if column is None else _of_column(X, column, str.split, " ")
    array = to_array(X)
    if array.dtype.kind == "U" or (array.dtype == object and all(isinstance(row, str) for row in array.reshape(-1))):
        if array.size != len(array):
            return None
        return Sequences(
            [str(row).split() for row in array.reshape(-1)],
            lambda units: np.array(_joined(units), dtype=object).reshape(array.shape),
        )
    if array.dtype == object and array.ndim == 1 and all(isinstance(row, list | tuple | np.ndarray) for row in array):
        return Sequences([list(row) for row in array], lambda units: _objects(units, array))
    if array.dtype.kind in "iu" and array.ndim == 2 and _embeds(subject):
        return _padded(array)
    return None


def _of_column(X: pd.DataFrame, column: Any, parted: Callable[[str], list[str]], between: str) -> Sequences:
    return Sequences(
        [parted(text) for text in X[column]],
        lambda units: X.assign(**{column: pd.array([between.join(row) for row in units], dtype=object)}),
    )


def _letters(X: pd.DataFrame) -> Sequences | None:
    """Names and other single words, where they are all there is."""
    columns, unit = wordings(X)
    return _of_column(X, X.columns[0], list, "") if unit == "char" and columns else None


def _text_column(frame: pd.DataFrame) -> Any:
    """The column of the longest texts, of at least three words at the median; None without one."""
    lengths = {}
    for name in frame.columns:
        values = frame[name]
        if values.dtype.kind in "OTS" or pd.api.types.is_string_dtype(values):
            texts = [value for value in values if isinstance(value, str)]
            if len(texts) == len(values) and np.median([text.count(" ") for text in texts]) >= 2:
                lengths[name] = float(np.median([len(text) for text in texts]))
    return max(lengths, key=lambda name: lengths[name]) if lengths else None


def _joined(units: list[list[Any]]) -> list[str]:
    return [" ".join(words) for words in units]


def _objects(units: list[Any], like: Array) -> Array:
    rows = np.empty(len(units), dtype=object)
    for index, row in enumerate(units):
        rows[index] = (
            type(like[index])(row)
            if not isinstance(like[index], np.ndarray)
            else np.asarray(row, dtype=like[index].dtype)
        )
    return rows


def _padded(array: Array) -> Sequences:
    """Rows of token ids, without the padding: the value that most of the last places hold, if half of them do."""
    values, counts = np.unique(array[:, -1], return_counts=True)
    padding = values[counts.argmax()] if counts.max() > 0.5 * len(array) else None
    units = [list(row[: _length(row, padding)]) for row in array]

    def back(units: list[Any]) -> Array:
        rows = np.full(array.shape, padding if padding is not None else array.min(), dtype=array.dtype)
        for index, row in enumerate(units):
            rows[index, : len(row)] = row
        return rows

    return Sequences(units, back)


def _length(row: Array, padding: Any) -> int:
    other = np.flatnonzero(row != padding) if padding is not None else np.arange(len(row))
    return int(other[-1]) + 1 if len(other) else 0


def _embeds(subject: Subject) -> bool:
    try:
        model = subject.model
    except Exception:
        return False
    return any(isinstance(module, nn.Embedding | nn.EmbeddingBag) for module in model.modules())
