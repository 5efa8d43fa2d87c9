"""A suite of Great Expectations: read from a file, or inferred from a table."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from firstfault.data.expectations.table import Table, is_text
from firstfault.errors import TargetError
from firstfault.imports import uncollected
from firstfault.target.bundled import own_or_shipped

if TYPE_CHECKING:
    import great_expectations as gx
    from great_expectations.expectations.expectation import Expectation

MOST_CATEGORIES = 50
"""A text column of more distinct values is free text or an identifier, and no set of categories."""
TOLERATED = 0.002
"""Share of rows that an inferred expectation lets pass: rare values come late (TFDV's infer step has none)."""
WIDENED = 0.5
"""An inferred range is widened by this share of its width at each end."""

NUMBERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)] + [
    "float16",
    "float32",
    "float64",
    "int",
    "float",
]
TEXT = ["str", "object", "string"]
TYPES = {
    "number": NUMBERS,
    "text": TEXT,
    "bool": ["bool", "bool_"],
    "time": [
        "datetime64",
        "datetime64[ns]",
        "datetime64[us]",
        "datetime64[ms]",
        "datetime64[s]",
        "Timestamp",
        "datetime",
    ],
}


def read_suite(place: str | Path, root: Path) -> gx.ExpectationSuite:
    """A suite from a JSON file: below `root`, or among the suites that firstfault ships.

    Raises:
        TargetError: when there is no such file, or it holds no suite of Great Expectations.
    """
    path = own_or_shipped(place, root)
    if not path.is_file():
        raise TargetError(f"data.expectations: there is no file {path}, and firstfault ships no suite {str(place)!r}")
    library = great_expectations()
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        suite: gx.ExpectationSuite = library.ExpectationSuite(name=values["name"], expectations=values["expectations"])
        unknown = [entry["type"] for entry in values["expectations"] if not _known(entry["type"])]
        if unknown:
            raise ValueError(f"there is no expectation {unknown[0]!r}")
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise TargetError(
            f"data.expectations must be a Great Expectations suite, but {place} is not: {reason}"
        ) from error
    return suite


def _known(expectation: str) -> bool:
    from great_expectations.expectations.registry import list_registered_expectation_implementations

    return expectation in list_registered_expectation_implementations()


def infer_suite(table: Table, name: str) -> gx.ExpectationSuite:
    """A suite that `table` meets: columns, types, nulls, ranges, categories, uniqueness and row count."""
    suite: gx.ExpectationSuite = great_expectations().ExpectationSuite(name=name, expectations=list(_inferred(table)))
    return suite


def _inferred(table: Table) -> Iterator[Expectation]:
    great_expectations()
    import great_expectations.expectations as gxe

    rows = len(table)
    yield gxe.ExpectTableRowCountToBeBetween(min_value=max(1, rows // 10), severity="warning")
    yield gxe.ExpectTableColumnsToMatchSet(column_set=table.names, exact_match=True, severity="warning")
    for column in table.names:
        values = table.column(column)
        kind = kind_of(values)
        missing = float(values.isna().mean())
        yield gxe.ExpectColumnToExist(column=column, severity="critical")
        # of which the library knows no name
        if kind in TYPES and missing < 1 and not isinstance(values.dtype, pd.DatetimeTZDtype):
            yield gxe.ExpectColumnValuesToBeInTypeList(column=column, type_list=TYPES[kind], severity="critical")
        yield gxe.ExpectColumnValuesToNotBeNull(
            column=column, mostly=_mostly(1 - 1.5 * missing - TOLERATED), severity="critical"
        )
        known = values.dropna()
        if kind == "number" and (span := _span(known)) is not None:
            low, high = span
            yield gxe.ExpectColumnValuesToBeBetween(
                column=column, min_value=low, max_value=high, mostly=_mostly(1 - TOLERATED), severity="critical"
            )
        elif kind == "text" and 0 < known.nunique() <= min(MOST_CATEGORIES, max(2, rows // 20)):
            yield gxe.ExpectColumnValuesToBeInSet(
                column=column,
                value_set=sorted(map(str, known.unique())),
                mostly=_mostly(1 - TOLERATED),
                severity="critical",
            )
        if rows >= 100 and kind in ("text", "number") and values.dtype.kind != "f" and known.is_unique and not missing:
            yield gxe.ExpectColumnValuesToBeUnique(column=column, severity="warning")


def _span(known: pd.Series) -> tuple[float, float] | None:
    """The range of a column's finite numbers, widened; None where there is none, or it is too wide for a float."""
    finite = known[known.abs() < np.inf]
    if not len(finite):
        return None
    low, high = float(finite.min()), float(finite.max())
    margin = WIDENED * max(high - low, abs(high) * 0.01)
    low, high = (0.0 if low >= 0 > low - margin else low - margin), high + margin
    return (low, high) if np.isfinite([low, high]).all() else None


def _mostly(share: float) -> float:
    return round(min(1.0, max(0.0, share)), 4)


def kind_of(values: pd.Series) -> str:
    """`number`, `text`, `bool`, `time`, or `mixed` for objects of several types and complex numbers."""
    if pd.api.types.is_bool_dtype(values):
        return "bool"
    if pd.api.types.is_numeric_dtype(values):
        return "mixed" if values.dtype.kind == "c" else "number"
    if pd.api.types.is_datetime64_any_dtype(values):
        return "time"
    return "text" if is_text(values) else "mixed"


def great_expectations() -> ModuleType:
    """The library, without telemetry and chatter."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    with uncollected():
        import great_expectations as library

    return library
