"""A short name for the content of data, the same in every process and on every machine."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pandas as pd

from firstfault.data.splits import Split
from firstfault.texts import encodable, hash_values


def data_digest(split: Split) -> str:
    """The first 12 hexadecimal digits of the SHA-256 of a split's columns and labels."""
    X, y = split
    sha = hashlib.sha256()
    for name, values in X.items() if isinstance(X, pd.DataFrame) else [("inputs", X)]:
        sha.update(encodable(str(name)).encode())
        sha.update(_content(values))
    sha.update(_content(y))
    return sha.hexdigest()[:12]


def _content(values: Any) -> bytes | memoryview:
    """A column or an array as bytes: numbers as they are in memory, other values by the hash of each."""
    array = values.to_numpy() if hasattr(values, "to_numpy") else np.asarray(values)
    if array.dtype.kind in "biufcmM":
        return np.ascontiguousarray(array).view(np.uint8).data
    return hash_values(array.astype(object).ravel(), categorize=True).tobytes()
