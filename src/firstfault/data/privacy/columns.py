"""Which columns of a table hold personal data: told by the words of their names, and by a sample of their values."""

from __future__ import annotations

import functools
import numbers
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from firstfault.data.privacy.names import VERSIONS, kind_by_name, tokens_of
from firstfault.data.privacy.patterns import digits_of, is_card, pieces
from firstfault.texts import shown

if TYPE_CHECKING:
    import pandas as pd

LOOKED_AT = 200
"""How many values of a column are looked at, spread over its rows."""


_DATE = re.compile(r"\d{1,4}[./\- ]\d{1,2}[./\- ]\d{1,4}|\d{1,2}\.? \w{3,9}\.? \d{4}|\w{3,9}\.? \d{1,2},? \d{4}|\d{8}")
_IP = re.compile(r"(?:\d{1,3}\.){3}\d{1,3}|[0-9a-fA-F:]*:[0-9a-fA-F:]+")


def kinds_of(frame: pd.DataFrame | Mapping[Any, pd.Series]) -> dict[Any, str]:
    """The kind of personal data of every column that holds some: "name", "e-mail", "phone" …"""
    kinds = {name: kind_of(str(name), _looked_at(column)) for name, column in frame.items()}
    return {name: kind for name, kind in kinds.items() if kind is not None}


def kind_of(column: str, values: Sequence[Any]) -> str | None:
    """The kind of personal data that a column of that name and those values holds, or None."""
    values = [value for value in values if value is not None and not (isinstance(value, float) and value != value)]
    named = kind_by_name(column)
    if named is not None and _agrees(named, column, values):
        return named
    return None if tokens_of(column) & VERSIONS else _by_values(values)


def _agrees(kind: str, column: str, values: Sequence[Any]) -> bool:
    """Whether a column's values can be what its name says: an `email` of yes and no holds no e-mail."""
    if not values or tokens_of(column) & {"opt", "has", "is", "type", "status", "count", "flag", "length", "hash"}:
        return False
    texts = [value.strip() for value in values if isinstance(value, str)]
    fits: Mapping[str, Callable[[], float]] = {
        "e-mail": lambda: _share(texts, lambda text: "@" in text),
        "phone": lambda: _share(values, lambda value: 6 <= _digits(value) <= 15),
        "IP address": lambda: _share(texts, lambda text: _IP.fullmatch(text) is not None),
        "IBAN": lambda: _share(texts, lambda text: len(text) > 10),
        "card": lambda: _share(values, lambda value: 12 <= _digits(value) <= 19),
        "national id": lambda: _share(values, lambda value: _digits(value) >= 5),
        "date of birth": lambda: _share(
            values, lambda value: not isinstance(value, str | int | float) or bool(_DATE.fullmatch(str(value)[:10]))
        ),
        "address": lambda: _share(texts, lambda text: bool(re.search(r"[\d ]", text)) and "@" not in text),
        "name": lambda: _share(
            texts,
            lambda text: (
                tokens_of(column) != {"name"} or _given(text) or (text != text.lower() and not digits_of(text))
            ),
        ),
    }
    return fits[kind]() >= 0.3 and not (kind in ("name", "address") and not texts)


def _by_values(values: Sequence[Any]) -> str | None:
    """The kind that most of the values are, whatever the column is called."""
    texts = [value.strip() for value in values if isinstance(value, str)]
    if not texts:
        whole = [str(int(value)) for value in values if isinstance(value, numbers.Integral) and int(value) > 10**13]
        return "card" if len(whole) >= 5 and len(whole) == len(values) and _share(whole, is_card) > 0.9 else None
    short = [text for text in texts if len(text) <= 120]
    kinds = [found[0][2] for text in short if (found := pieces(text)) and _covers(found, text)]
    if kinds and 2 * len(kinds) >= len(texts):
        return max(set(kinds), key=kinds.count)
    return "name" if _are_names(texts) else None


def _covers(found: Sequence[tuple[int, int, str]], text: str) -> bool:
    return sum(end - start for start, end, _ in found) >= 0.6 * len(text)


def _are_names(texts: Sequence[str]) -> bool:
    """Whether texts are the names of people.

    They are two or three capitalised words, of which many begin with a common given name.
    """
    shaped = _share(
        texts,
        lambda text: (
            re.fullmatch(r"(?:[^\W\d_]{1,3}\. )?[^\W\d_][\w'’-]+,?(?: [^\W\d_][\w'’.-]*){1,3}", text) is not None
            and all(word[0].isupper() for word in text.split() if len(word) > 3)
        ),
    )
    return shaped > 0.8 and _share(texts, _given) > 0.3 and len(set(texts)) > min(20, 0.5 * len(texts))


def _given(text: str) -> bool:
    return not _given_names().isdisjoint(re.split(r"[\W_]+", text.lower()))


@functools.cache
def _given_names() -> frozenset[str]:
    """Some 300 given names that are common in Europe, America and Asia."""
    return frozenset((Path(__file__).parent / "given_names.txt").read_text(encoding="utf-8").split())


def _share(values: Sequence[Any], holds: Callable[[Any], bool]) -> float:
    return sum(map(bool, map(holds, values))) / len(values) if values else 0.0


def _digits(value: object) -> int:
    """How many digits a value has, when it can be a number that names somebody: not one with a fraction."""
    fraction = _is_float(value) and not float(value).is_integer()
    return 0 if fraction else len(digits_of(plain_of(value)))


def plain_of(value: object) -> str:
    """A value as text; a float that is whole, as pandas makes it of a number that can be missing, without its point."""
    return str(int(value)) if _is_float(value) and float(value).is_integer() else shown(value, str).strip()


def _is_float(value: object) -> TypeGuard[float]:
    """Whether a value is a number of Python's or numpy's that may have a fraction."""
    return isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral)


def _looked_at(column: pd.Series) -> list[Any]:
    """Up to 200 values, spread over the rows, that are not missing."""
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        column = pd.Series(column.cat.categories)
    if column.dtype.kind in "bfcm" and column.dtype != object and kind_by_name(str(column.name)) is None:
        return []
    known = column.iloc[:: max(1, len(column) // LOOKED_AT)].head(LOOKED_AT).dropna()
    if len(known) < min(20, len(column)):
        known = column.dropna()
        known = known.iloc[:: max(1, len(known) // LOOKED_AT)].head(LOOKED_AT)
    return known.tolist()
