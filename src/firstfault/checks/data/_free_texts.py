"""Columns of free text: three words and more at the median, mostly different."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from firstfault.data.splits import to_array

NOTHING = re.compile(
    r"[\s.,;:!?_–—-]*"
    r"|(?i:n/?a|nan|null|none|nil|undefined|unknown|\[?(?:deleted|removed|empty)\]?|no text|tbd|todo|lorem ipsum.*)"
)
"""What stands in place of a text: blanks, marks, placeholders."""


def free_texts(X: Any) -> Mapping[str, pd.Series]:
    """The columns of free text by name: three words and more at the median, mostly different; `inputs` of an array."""
    if isinstance(X, pd.DataFrame):
        return {str(name): X.iloc[:, place] for place, name in enumerate(X.columns) if _is_free(X.iloc[:, place])}
    array = to_array(X)
    if array.dtype.kind not in "OU" or not len(array) or (array.ndim == 2 and array.shape[1] != 1) or array.ndim > 2:
        return {}
    column = pd.Series(array.reshape(len(array)), dtype=object)
    return {"inputs": column} if _is_free(column) else {}


def _is_free(column: pd.Series) -> bool:
    if column.dtype != object and not isinstance(column.dtype, pd.StringDtype):
        return False
    few = [
        value
        for value in column.iloc[:: max(1, len(column) // 200)].head(200)
        if isinstance(value, str) and not NOTHING.fullmatch(value)
    ]
    if len(few) < 5 or not all(
        isinstance(value, str) or pd.isna(value) for value in column.head(20) if not isinstance(value, list | dict)
    ):
        return False
    long = np.median([len(value.split()) for value in few]) >= 3 or (
        np.median([len(value) for value in few]) >= 25 and " " in "".join(few)
    )
    worded = np.median([sum(map(str.isalpha, value)) / len(value) for value in few]) >= 0.5 or not all(
        map(str.isascii, few)
    )
    return bool(long and worded and len(set(few)) > 0.3 * len(few))
