"""Inputs as a frame of columns, where they are a table."""

from __future__ import annotations

from typing import Any

import pandas as pd

from firstfault.data.splits import to_array

MOST_COLUMNS = 300
"""Wider inputs are samples such as images or spectra: no column of theirs means anything by itself."""


def table(X: Any) -> pd.DataFrame | None:
    """Inputs as a frame of at most 300 columns; None for images and other large samples."""
    if isinstance(X, pd.DataFrame):
        return X if X.shape[1] <= MOST_COLUMNS else None
    array = to_array(X)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or array.shape[1] > MOST_COLUMNS:
        return None
    return pd.DataFrame(array, columns=[str(column) for column in range(array.shape[1])])
