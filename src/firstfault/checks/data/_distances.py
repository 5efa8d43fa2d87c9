"""How far two samples of one column are apart: as numbers, or as categories."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from firstfault.texts import as_text

Array = np.ndarray[Any, Any]

FEWEST = 20  # known values of each side below which no distance would be significant
FEWEST_OF_A_CATEGORY = 10  # five expected in each cell, as a chi-squared test wants (Cochran 1954)
IDENTIFYING = 0.2  # distinct values per row above which a column names rows, and has no distribution
READ_AS_NUMBERS = 0.95  # of the values of a text column that is compared as numbers
MOST_READ = 200  # values that decide whether a column is of dates or numbers
DATE = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}(\D|$)|\d{1,2}[-/.]\d{1,2}[-/.]\d{4}(\D|$)")


class Distance(NamedTuple):
    """The distance of two samples, 0–1, with its p-value.

    `kind` is number, category, type (numbers here, text there), identifier or empty. Numbers are compared by
    Kolmogorov–Smirnov, and `shift` is their Wasserstein distance in deviations of the first sample; categories by total
    variation, and `shift` is their Jensen–Shannon distance (base 2).
    """

    kind: str
    value: float
    p: float
    shift: float


def distance(a: pd.Series, b: pd.Series) -> Distance:
    """Compare the known values of two samples."""
    a, b = a.dropna(), b.dropna()
    if len(a) < FEWEST or len(b) < FEWEST:
        return Distance("empty", 0.0, 1.0, 0.0)
    numeric = is_number(a), is_number(b)
    if all(numeric):
        return _of_numbers(_finite(a), _finite(b))
    if any(numeric):
        one, two = as_numbers(a), as_numbers(b)
        return (
            Distance("type", 0.0, 1.0, 0.0)
            if one is None or two is None
            else _of_numbers(one, two)._replace(kind="type")
        )
    return _of_categories(a, b)


def column_distance(a: pd.Series, b: pd.Series) -> tuple[float, float]:
    """Distance 0–1 and p-value between two samples of one column."""
    found = distance(a, b)
    return found.value, found.p


def is_number(column: pd.Series) -> bool:
    """Whether a column holds numbers; truth values are categories."""
    kind = column.dtype
    return (
        pd.api.types.is_numeric_dtype(kind)
        and not pd.api.types.is_bool_dtype(kind)
        and not pd.api.types.is_complex_dtype(kind)
    )


def is_time(column: pd.Series) -> bool:
    """Whether a column holds moments: as such, or as texts that are dates."""
    kind = column.dtype
    if (
        pd.api.types.is_datetime64_any_dtype(kind)
        or isinstance(kind, pd.PeriodDtype)
        or pd.api.types.is_timedelta64_dtype(kind)
    ):
        return True
    if is_number(column) or pd.api.types.is_bool_dtype(kind):
        return False
    known = column.dropna()
    some = known.iloc[:: max(1, len(known) // MOST_READ)].tolist()[:MOST_READ]
    if some and all(hasattr(value, "isoformat") for value in some):
        return True
    return len(some) >= FEWEST and all(isinstance(value, str) and DATE.match(value) is not None for value in some)


def as_numbers(column: pd.Series) -> Array | None:
    """The finite numbers of a column without missing values; of text where nearly all of it is numbers, else None."""
    if is_number(column):
        return _finite(column)
    if pd.api.types.is_bool_dtype(column.dtype) or pd.api.types.is_datetime64_any_dtype(column.dtype):
        return None
    some = pd.to_numeric(as_text(column.iloc[:MOST_READ]), errors="coerce")
    if not len(some) or some.notna().mean() < READ_AS_NUMBERS:
        return None
    read = pd.to_numeric(as_text(column), errors="coerce")
    return _finite(read) if read.notna().mean() >= READ_AS_NUMBERS else None


def _finite(column: pd.Series) -> Array:
    values = column.to_numpy(dtype=float, na_value=np.nan)
    return np.asarray(values[np.isfinite(values)])


def _of_numbers(a: Array, b: Array) -> Distance:
    from scipy.stats import ks_2samp, wasserstein_distance

    if len(a) < FEWEST or len(b) < FEWEST:
        return Distance("empty", 0.0, 1.0, 0.0)
    found = ks_2samp(a, b, method="asymp")
    moved, deviation = float(wasserstein_distance(a, b)), float(a.std())
    shift = moved / deviation if deviation > 0 else 0.0 if moved == 0 else float("inf")
    return Distance("number", float(found.statistic), float(found.pvalue), shift)


def _of_categories(a: pd.Series, b: pd.Series) -> Distance:
    from scipy.spatial.distance import jensenshannon

    counts = category_counts(a, b)
    if len(counts) > IDENTIFYING * min(len(a), len(b)):
        return Distance("identifier", 0.0, 1.0, 0.0)
    share = counts / counts.sum()
    p, q = share["a"].to_numpy(), share["b"].to_numpy()
    return Distance(
        "category", float(np.abs(p - q).sum() / 2), _p_of_counts(counts), float(jensenshannon(p, q, base=2))
    )


def category_counts(a: pd.Series, b: pd.Series) -> pd.DataFrame:
    """How often each category occurs in two samples, as columns a and b."""
    return pd.DataFrame({"a": as_text(a).value_counts(), "b": as_text(b).value_counts()}).fillna(0.0)


def _p_of_counts(counts: pd.DataFrame) -> float:
    """The p-value of a chi-squared test; rare categories are taken together."""
    from scipy.stats import chi2_contingency

    rare = counts.sum(axis=1) < FEWEST_OF_A_CATEGORY
    cells = np.vstack([counts[~rare].to_numpy(), counts[rare].sum().to_numpy()])
    cells = cells[cells.sum(1) > 0]
    return float(chi2_contingency(cells.T).pvalue) if len(cells) > 1 else 1.0
