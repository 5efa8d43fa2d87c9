"""A table over several splits, read column by column: what validates one column needs no copy of the others."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import pandas as pd

from firstfault.data.privacy.known import Known


class Table:
    """Rows of one or more parts, one below the other; the columns of all parts count.

    Column names are text, and values of NumPy's types: categories and nullable types are taken back to those.
    """

    def __init__(self, parts: Sequence[Mapping[str, pd.Series] | pd.DataFrame]) -> None:
        self._parts = [{str(name): values for name, values in part.items()} for part in parts]
        self._sizes = [len(next(iter(part.values()), ())) for part in self._parts]
        self.names = list(dict.fromkeys(name for part in self._parts for name in part))

    def __len__(self) -> int:
        return sum(self._sizes)

    def column(self, name: str) -> pd.Series:
        """The values `(N,)` of a column, missing where a part lacks it, numbered from 0."""
        pieces = [
            part[name] if name in part else pd.Series([None] * size, dtype=object)
            for part, size in zip(self._parts, self._sizes, strict=True)
        ]
        whole = pieces[0] if len(pieces) == 1 else pd.concat(pieces, ignore_index=True)
        return plain(whole).reset_index(drop=True).rename(name)

    def frame(self, names: Sequence[str] | None = None) -> pd.DataFrame:
        """Some columns (all, when left out) as a frame `(N, D)`."""
        return pd.DataFrame({name: self.column(name) for name in names or self.names}, copy=False)

    @functools.cached_property
    def known(self) -> Known:
        """The values of the personal columns, to be masked where a result quotes them."""
        return Known(self._parts)

    def rows(self, positions: Sequence[int]) -> pd.DataFrame:
        """Some rows as a frame."""
        return pd.DataFrame({name: self.column(name).iloc[list(positions)].to_numpy() for name in self.names})


def plain(values: pd.Series) -> pd.Series:
    """A column of NumPy's types in place of categories and nullable types."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return values.astype(values.cat.categories.dtype)
    if isinstance(values.dtype, pd.SparseDtype):
        return values.sparse.to_dense()  # type: ignore[attr-defined]
    if not pd.api.types.is_extension_array_dtype(values.dtype) or isinstance(values.dtype, pd.DatetimeTZDtype):
        return values
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        return values.astype("float64") if values.isna().any() else values.astype(values.dtype.numpy_dtype)  # type: ignore[union-attr]
    return (
        values.astype(object).where(values.notna(), None)
        if values.isna().any()
        else values.astype(object).infer_objects()
    )


def is_text(values: pd.Series) -> bool:
    """Whether every value that is not missing is text."""
    return values.dtype == object and pd.api.types.infer_dtype(values, skipna=True) in ("string", "empty")
