"""Personal data in tables and texts: recognised by the columns' names and values, and masked before anything is shown.

personal_columns(frame)    the columns that look like personal data
masked(frame)              a copy that shows kinds ("e-mail •••") in place of values
masked_text(text)          the same for one text
pseudonymised(frame)       a copy for tools that count: equal values stay equal ("name •1f3a…"), others different
masked_tree(value, kinds)  the same for nested lists and mappings, such as a tool's result in JSON
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from firstfault.data.privacy.columns import kind_of, kinds_of
from firstfault.data.privacy.names import VERSIONS, tokens_of
from firstfault.data.privacy.patterns import MASK, SUSPECT, replaced
from firstfault.data.privacy.pseudonyms import pseudonym
from firstfault.interrupts import pass_on
from firstfault.metrics import Array

__all__ = ["MASK", "kind_of", "kinds_of", "masked", "masked_text", "masked_tree", "personal_columns", "pseudonymised"]


def personal_columns(frame: pd.DataFrame) -> list[str]:
    """The columns of a frame that look like personal data, by their names and by a sample of their values."""
    return [str(name) for name in kinds_of(frame)]


def masked_text(text: str) -> str:
    """A text with its personal pieces replaced by their kind: `write to ada@mail.org` becomes `write to e-mail •••`."""
    return replaced(text, lambda kind, piece: f"{kind} {MASK}")


def masked(frame: pd.DataFrame) -> pd.DataFrame:
    """A copy to look at: personal columns show their kind only, and personal pieces of other texts are masked."""
    return _replaced(frame, lambda kind, values: np.full(len(values), f"{kind} {MASK}", dtype=object))


def pseudonymised(frame: pd.DataFrame) -> pd.DataFrame:
    """A copy to count on: values of personal columns become pseudonyms, equal for equal values within this process.

    Missing values stay missing, and personal pieces of other texts are masked. A pseudonym is text: a column of numbers
    or dates that is personal changes its type.
    """
    return _replaced(frame, lambda kind, values: np.array([pseudonym(kind, value) for value in values], dtype=object))


def _replaced(frame: pd.DataFrame, replacement: Callable[[str, Any], Array]) -> pd.DataFrame:
    if not frame.columns.is_unique:
        frame = frame.set_axis([f"{name}.{place}" for place, name in enumerate(frame.columns)], axis=1)
    kinds = kinds_of(frame)
    changed = {
        name: _by_distinct(column, functools.partial(replacement, kinds[name]))
        if name in kinds
        else _without_pieces(column)
        for name, column in frame.items()
    }
    copy = frame.copy()
    for name, column in changed.items():
        if column is not frame[name]:
            copy[name] = column
    names = [frame[name] for name, kind in kinds.items() if kind == "name"]
    for name in [name for name in frame.columns if name not in kinds and names and _is_text(frame[name])]:
        copy[name] = _without_own_names(copy[name], names)
    return copy


def _by_distinct(column: pd.Series, replacement: Callable[[Any], Array]) -> pd.Series:
    """A column with every distinct value replaced; missing values stay."""
    codes, values = distinct(column)
    return _with(column, [*replacement(values), None], codes)


def distinct(column: pd.Series) -> tuple[Array, Any]:
    """The code of every row and the distinct values; lists and other values that can't be hashed are all distinct."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.codes.to_numpy(), column.cat.categories
    try:
        return pd.factorize(column)
    except BaseException as error:  # lists have no hash, and a value's own methods may raise
        pass_on(error)
        return np.arange(len(column)), column.tolist()


def _with(column: pd.Series, values: Sequence[object], codes: Array) -> pd.Series:
    """A column of the values that the codes point to; the last of them is what a missing value becomes."""
    boxed = np.empty(len(values), dtype=object)
    boxed[:] = values
    return pd.Series(boxed[codes], index=column.index, name=column.name, dtype=object)


def _is_text(column: pd.Series) -> bool:
    return column.dtype == object or isinstance(column.dtype, pd.StringDtype | pd.CategoricalDtype)


def _without_pieces(column: pd.Series) -> pd.Series:
    """A column with the personal pieces in its texts masked; the same column when it has none."""
    if not _is_text(column) or tokens_of(str(column.name)) & VERSIONS:
        return column
    codes, values = distinct(column)
    changed = {place: new for place in _suspects(values) if (new := masked_tree(values[place], {})) != values[place]}
    return (
        _with(column, [*(changed.get(place, value) for place, value in enumerate(values)), None], codes)
        if changed
        else column
    )


def _suspects(values: Any) -> Sequence[int]:
    """Where among some values there may be a personal piece: not in texts without a trace of one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        texts = pa.array(
            values if isinstance(values, list) else values.to_numpy(dtype=object), type=pa.string(), from_pandas=True
        )
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError):
        return [place for place, value in enumerate(values) if isinstance(value, str | list | tuple | dict)]
    found = pc.match_substring_regex(texts, SUSPECT).fill_null(False)
    return [int(place) for place in np.flatnonzero(found.to_numpy(zero_copy_only=False))]


def _without_own_names(column: pd.Series, names: Sequence[pd.Series]) -> pd.Series:
    """Texts in which the names that their own row holds are masked."""
    texts = column.tolist()
    for known in names:
        texts = [
            text.replace(name, f"name {MASK}")
            if isinstance(text, str) and isinstance(name, str) and len(name) > 2 and name in text
            else text
            for text, name in zip(texts, known.tolist(), strict=True)
        ]
    return pd.Series(texts, index=column.index, name=column.name, dtype=object)


def masked_tree(value: Any, kinds: Mapping[Any, str], hide: Callable[[str], str] = masked_text) -> Any:
    """Nested lists and mappings with personal texts masked.

    What lies below a mapping about a personal column becomes pseudonyms.

    Args:
        value: plain values, as a tool's result in JSON has them; a mapping is about a column when `column`, or `column`
            in its `kwargs` or its `expectation_config`, names it.
        kinds: the personal columns, by name, with their kinds.
        hide: what masks a text.
    """
    return _masked_tree(value, {str(name): kind for name, kind in kinds.items()}, None, hide)


_SETTINGS = frozenset(
    {
        "column",
        "column_A",
        "column_B",
        "column_list",
        "column_set",
        "type",
        "type_",
        "type_list",
        "regex",
        "regex_list",
        "strftime_format",
        "like_pattern",
        "mostly",
        "severity",
        "name",
    }
)
_TYPE = re.compile(r"u?int\d*|float\d*|object|str|string|bool|datetime64.*|category")


def _masked_tree(value: Any, kinds: Mapping[str, str], kind: str | None, hide: Callable[[str], str]) -> Any:
    if isinstance(value, Mapping):
        about = kinds.get(_column_of(value) or "", kind)
        return {
            key: _masked_tree(
                item,
                kinds,
                None if key in _SETTINGS or _is_count(key, item) else about,
                masked_text if key in _SETTINGS else hide,
            )
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_masked_tree(item, kinds, kind, hide) for item in value]
    if kind is None or value is None or isinstance(value, bool):
        return hide(value) if isinstance(value, str) else value
    return value if isinstance(value, str) and _TYPE.fullmatch(value) else pseudonym(kind, value)


def _is_count(key: object, item: object) -> bool:
    """Whether an entry counts rows or names their positions."""
    return re.search(r"count|percent|index", str(key)) is not None and not isinstance(
        item[0] if isinstance(item, list) and item else item, str | Mapping
    )


def _column_of(value: Mapping[Any, Any]) -> str | None:
    for part in (
        value,
        value.get("kwargs"),
        (value.get("expectation_config") or {}).get("kwargs") if _has_config(value) else None,
    ):
        if isinstance(part, Mapping) and isinstance(part.get("column"), str):
            return str(part["column"])
    return None


def _has_config(value: Mapping[Any, Any]) -> bool:
    return isinstance(value.get("expectation_config"), Mapping)
