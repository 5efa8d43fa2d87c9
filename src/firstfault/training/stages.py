"""Statistics of the data at every stage of preprocessing, as plain rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from firstfault.data.privacy.masking import kinds_of
from firstfault.data.splits import Split, to_array
from firstfault.metrics import Array
from firstfault.training.preprocessing import Pipeline
from firstfault.values import Json

MOST_CLASSES = 20
"""Classes whose shares the table of stages shows."""
NUMBERS = ("rows", "mean", "variance", "min", "max", "missing")


def stage_table(pipeline: Pipeline) -> list[Json]:
    """One row per stage and split: rows, shape, dtype, mean, variance, min, max, missing, classes.

    Numbers are taken over all numeric columns together; `missing` counts missing cells; `classes` is the share of
    each label where there are at most 20.
    """
    return [
        {"stage": stage.name, "split": name, **statistics(split)}
        for stage in pipeline.stages
        for name, split in stage.splits.items()
    ]


def stage_metrics(rows: Sequence[Json]) -> dict[str, float]:
    """The numbers of a stage table by `stages/<stage>/<split>/<statistic>`, as a tracker takes them."""
    return {
        f"stages/{row['stage']}/{row['split']}/{name}": float(row[name])
        for row in rows
        for name in NUMBERS
        if row[name] is not None
    }


def statistics(split: Split) -> Json:
    """The row of one split."""
    values = numbers(_impersonal(split.X))
    finite = values[np.isfinite(values)]
    some = finite.size > 0
    return {
        "rows": len(split.y),
        "shape": "×".join(str(size) for size in np.shape(split.X)),
        "dtype": _dtype(split.X),
        "mean": float(finite.mean()) if some else None,
        "variance": float(finite.var()) if some else None,
        "min": float(finite.min()) if some else None,
        "max": float(finite.max()) if some else None,
        "missing": missing_cells(split.X),
        "classes": _classes(split.y),
    }


def _impersonal(X: Any) -> Any:
    """Inputs without their personal columns, whose extremes would be somebody's numbers."""
    return X.drop(columns=list(kinds_of(X))) if isinstance(X, pd.DataFrame) and X.columns.is_unique else X


def numbers(X: Any) -> Array:
    """The numeric part of inputs as float64 `(N, …)`.

    Columns of text are left out, numbers kept as objects are read.
    """
    if isinstance(X, pd.DataFrame):
        numeric = X.select_dtypes(include=["number", "bool"])
        return numeric.to_numpy(dtype=np.float64, na_value=np.nan)
    array = to_array(X)
    if array.dtype == object:
        return _numbers_among_objects(array)
    if array.dtype.kind in "USMm" or array.ndim == 0:
        return np.empty((len(array) if array.ndim else 0, 0))
    if array.ndim == 1:
        array = array[:, None]
    return array.astype(np.float64)


def _numbers_among_objects(array: Array) -> Array:
    """An array of objects as float64, its columns of text left out."""
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError):
        if array.ndim != 2:
            return np.empty((len(array), 0))
    numeric = [column for column in range(array.shape[1]) if _are_numbers(array[:, column])]
    return array[:, numeric].astype(np.float64)


def _are_numbers(values: Array) -> bool:
    return all(value is None or isinstance(value, int | float | np.number) for value in values)


def missing_cells(X: Any) -> int:
    """How many cells are missing."""
    if isinstance(X, pd.DataFrame):
        return int(X.isna().sum().sum())
    array = to_array(X)
    return int(pd.isna(array).sum()) if array.dtype.kind in "fOM" else 0


def _dtype(X: Any) -> str:
    if isinstance(X, pd.DataFrame):
        kinds = X.dtypes.astype(str).value_counts()
        return ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    return str(getattr(X, "dtype", type(X).__name__))


def _classes(y: Any) -> dict[str, float] | None:
    values = to_array(y)
    if values.ndim != 1:
        return None
    share = pd.Series(values).value_counts(normalize=True, dropna=False)
    return {str(key): round(float(part), 4) for key, part in share.items()} if len(share) <= MOST_CLASSES else None
