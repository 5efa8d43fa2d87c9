"""Labels as numbers, and whether they are amounts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from firstfault.texts import as_text

Array = np.ndarray[Any, Any]


def numbers_of(y: Array) -> Array | None:
    """Labels as numbers of the same shape, text that reads as numbers too; None where it does not."""
    if y.dtype.kind in "fiub":
        return y.astype(float)
    if y.dtype.kind not in "OUS" or not y.size:
        return None
    flat = y.reshape(-1)
    read = pd.to_numeric(as_text(pd.Series(flat).where(~pd.isna(flat), np.nan)), errors="coerce").to_numpy(float)
    read[truths(flat)] = flat[truths(flat)].astype(float)
    return None if (np.isnan(read) & ~pd.isna(flat)).any() else read.reshape(y.shape)


def continuous(y: Array, distinct: int = 30, share: float = 0.05, whole_share: float = 0.5) -> int:
    """How many different amounts a column of labels holds; 0 where it holds classes."""
    numbers = numbers_of(y) if y.ndim == 1 or (y.ndim == 2 and y.shape[1] == 1) else None
    if numbers is None:
        return 0
    values, rows = np.unique(numbers[np.isfinite(numbers)]), len(y)
    if len(values) <= distinct:
        return 0
    if (values != np.round(values)).mean() > 0.1:
        return len(values) if len(values) >= share * rows or len(values) > 100 else 0
    spread = y.dtype.kind not in "OUS" and values[-1] - values[0] > 10 * len(values)  # whole numbers as text are codes
    return len(values) if len(values) >= whole_share * rows and spread else 0


def truths(known: Array) -> Array:
    """Which of some labels `(N,)` are truth values."""
    return np.array([isinstance(value, bool | np.bool_) for value in known], bool)
