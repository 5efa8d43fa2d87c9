"""Text that UTF-8 can write, and any value as such a text, whatever its own methods do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from firstfault.interrupts import pass_on

if TYPE_CHECKING:
    import pandas as pd

    from firstfault.metrics import Array


def encodable(text: str) -> str:
    """The text with escapes for halves of surrogate pairs, which no file, page, server or terminal takes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def shown(value: object, show: Callable[[object], str] = repr) -> str:
    """A value as text by `show`, which may be `str`; by class and place in memory where its own method raises."""
    try:
        return encodable(show(value))
    except BaseException as error:
        pass_on(error)
        return encodable(object.__repr__(value))


def nearest(word: str, known: Iterable[str]) -> str:
    """The question whether another word was meant, as the end of a sentence; empty where none is alike."""
    import difflib

    near = difflib.get_close_matches(word, list(known), 3)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def hash_texts(values: Iterable[object]) -> Array:
    """A uint64 per value `(N,)` by its text, equal for equal texts."""
    import numpy as np
    import pandas as pd

    return np.asarray(pd.util.hash_array(np.array([*map(shown, values)], dtype=object), categorize=False))


def hash_values(values: Array, *, categorize: bool = False) -> Array:
    """A uint64 per object of an array `(N,)`; by their texts where pandas can't hash them.

    It can't hash lists, halves of surrogate pairs, and objects whose methods raise. `categorize` hashes repeated
    objects once, as pandas says it.
    """
    import numpy as np
    import pandas as pd

    try:
        return np.asarray(pd.util.hash_array(values, categorize=categorize))
    except BaseException as error:
        pass_on(error)
        return hash_texts(values)


def as_text(column: pd.Series) -> pd.Series:
    """Every value of a column `(N,)` as text, a missing one too."""
    try:
        return column.astype(str)
    except BaseException as error:  # bytes that are no UTF-8, and methods that raise
        pass_on(error)
        return column.astype(object).map(lambda value: shown(value, str))


def as_written(column: pd.Series) -> pd.Series:
    """A column `(N,)` as libraries write and hash it: objects and complex numbers as texts; what is missing stays."""
    import pandas as pd

    if isinstance(column.dtype, pd.SparseDtype):
        return column.sparse.to_dense()  # type: ignore[attr-defined]
    if column.dtype.kind not in "Oc":  # categories of objects are "O" too
        return column
    return column.astype(object).map(
        lambda value: None if pd.api.types.is_scalar(value) and pd.isna(value) else shown(value, str)
    )
