"""Times as tables hold them, as one comparable scale: dates, texts in some format, seconds since 1970, numbers."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from firstfault.metrics import Array
from firstfault.texts import as_text

FORMATS = (
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y",
    "%d/%m/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M",
    "%d/%m/%Y",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M",
    "%m/%d/%Y",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d",
    "%d-%m-%Y",
    "%Y.%m.%d",
    "%d %b %Y",
    "%d %B %Y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%b %d %Y",
    "%d-%b-%Y",
    "%d-%b-%y",
    "%a, %d %b %Y %H:%M:%S %z",
    "%a %b %d %H:%M:%S %Y",
    "%d/%m/%y",
    "%m/%d/%y",
)
ISO = "ISO 8601"
_YEAR = re.compile(r"(?<!\d)(\d{4})(?!\d)")
_EPOCH = {"s": (3e8, 4e9), "ms": (3e11, 4e12), "us": (3e14, 4e15), "ns": (3e17, 4e18)}
"""Between 1979 and 2096, numbers may be times since 1970 in that unit."""
DAY = 86_400.0
"""Seconds."""
LOOKED_AT = 500
"""Texts by which the formats are put into an order; all of them are read after it."""


@dataclass(frozen=True)
class Times:
    """A column of times `(N,)`.

    `values` are seconds since 1970 (UTC; times without a zone count as UTC) where `dated`, else the column's own
    numbers; NaN where there is no time. `missing`, `malformed` and `beyond` (a year that no clock has, or beyond
    1677–2262) are exclusive. `formats` are the formats that rows are in, with their counts, and `zoned` how many
    texts say their zone.
    """

    values: Array
    missing: Array
    malformed: Array
    beyond: Array
    dated: bool
    formats: dict[str, int]
    zoned: int = 0

    def __len__(self) -> int:
        return len(self.values)


def times_of(column: pd.Series) -> Times | None:
    """The times of a column; None when most of its values are neither dates nor numbers."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    missing = column.isna().to_numpy()
    if pd.api.types.is_datetime64_any_dtype(column):
        return _from_dates(column, missing)
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return _from_numbers(column, missing)
    if column.dtype != object and not isinstance(column.dtype, pd.StringDtype | pd.PeriodDtype):
        return None
    return _from_texts(column, missing)


def _from_dates(column: pd.Series, missing: Array) -> Times:
    utc = column.dt.tz_convert("UTC").dt.tz_localize(None) if column.dt.tz is not None else column
    nothing = np.zeros(len(column), bool)
    return Times(_seconds(utc), missing, nothing, nothing, True, {"dates": int((~missing).sum())})


def _from_numbers(column: pd.Series, missing: Array) -> Times:
    values = column.to_numpy(dtype=float, na_value=np.nan)
    nothing = np.zeros(len(column), bool)
    middle = float(np.nanmedian(values)) if not missing.all() else np.nan
    unit = next((unit for unit, (low, high) in _EPOCH.items() if low <= middle < high), None)
    scale = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}.get(unit or "", 1.0)
    infinite = np.isinf(values)
    return Times(
        np.where(infinite, np.nan, values / scale),
        missing,
        infinite,
        nothing,
        unit is not None,
        {unit or "numbers": int((~missing).sum())},
    )


def _from_texts(column: pd.Series, missing: Array) -> Times | None:
    try:
        codes, distinct = pd.factorize(column)
    except TypeError:  # lists and mappings have no hash
        codes, distinct = pd.factorize(as_text(column).where(~missing))
    texts = pd.Series([str(value).strip() for value in distinct], dtype=object)
    counts = np.bincount(codes[codes >= 0], minlength=len(texts))
    values, formats, zoned = _parsed(texts, counts)
    beyond = np.isnan(values) & _beyond(texts, np.isnan(values))
    malformed = np.isnan(values) & ~beyond
    if len(texts) == 0 or counts[malformed].sum() > 0.5 * counts.sum():
        return None
    row = np.maximum(codes, 0)
    known = codes >= 0
    return Times(
        np.where(known, values[row], np.nan), ~known, known & malformed[row], known & beyond[row], True, formats, zoned
    )


def _parsed(texts: pd.Series, counts: Array) -> tuple[Array, dict[str, int], int]:
    """Seconds since 1970 of distinct texts, how many rows each format parses, and how many rows say their zone."""
    values = np.full(len(texts), np.nan)
    used: dict[str, int] = {}
    for form in _candidates(texts):
        left = np.flatnonzero(np.isnan(values))
        if not len(left):
            break
        found = _read(texts.iloc[left], form)
        good = ~np.isnan(found)
        values[left[good]] = found[good]
        if good.any():
            used[form] = int(counts[left[good]].sum())
    zoned = _matches(texts, r":.*(?:Z|[+-]\d\d:?\d\d)$")
    return values, used, int(counts[zoned & ~np.isnan(values)].sum())


def _candidates(texts: pd.Series) -> Sequence[str]:
    """All formats, the one that reads most of a sample of texts first."""
    sample = texts.iloc[:: max(1, len(texts) // LOOKED_AT)].head(LOOKED_AT)
    if (~np.isnan(_read(sample, ISO))).sum() > 0.9 * len(sample):
        return [ISO, *FORMATS]
    return sorted((ISO, *FORMATS), key=lambda form: -(~np.isnan(_read(sample, form))).sum())


def _read(texts: pd.Series, form: str) -> Array:
    if form == ISO:  # a bare number is a year, a day or an id: no time of day, no date
        texts = texts.where(~_matches(texts, r"^(?:\d{1,7}|\d{9,})$"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = pd.to_datetime(texts, format="ISO8601" if form == ISO else form, errors="coerce", utc=True)
    return _seconds(found.dt.tz_localize(None))


def _matches(texts: pd.Series, pattern: str) -> Array:
    """Which texts a pattern (RE2's dialect) occurs in."""
    import pyarrow as pa
    import pyarrow.compute as pc

    whole = pa.array([text.encode("utf-8", "replace") for text in texts], type=pa.binary()).cast(pa.string())
    return np.asarray(pc.match_substring_regex(whole, pattern).to_numpy(zero_copy_only=False), dtype=bool)


def _seconds(dates: pd.Series) -> Array:
    whole = dates.to_numpy().astype("datetime64[us]")
    return np.where(np.isnat(whole), np.nan, whole.astype(np.int64) / 1e6)


def _beyond(texts: pd.Series, unread: Array) -> Array:
    """Which of the unread texts are dates of a year that pandas does not hold, such as 9999-12-31."""
    found = np.zeros(len(texts), bool)
    for place in np.flatnonzero(unread):
        year = _YEAR.search(texts.iloc[place])
        far = year is not None and not 1678 <= int(year[1]) <= 2261
        found[place] = far and re.fullmatch(r"[\d./\- :T+Z]{8,}", texts.iloc[place]) is not None
    return found
