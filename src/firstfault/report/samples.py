"""A few samples to look at: rows with personal data masked, or images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from firstfault.data.privacy.masking import kinds_of, masked
from firstfault.data.splits import Split, to_array
from firstfault.metrics import Array
from firstfault.values import Row

MOST_ROWS, MOST_COLUMNS, MOST_IMAGES, SMALLEST_SIDE = 8, 24, 16, 6


def sample_rows(split: Split, label: str = "label") -> tuple[list[Row], list[str]]:
    """The first rows of a split with their labels, and the columns that were masked."""
    frame = _frame(split.X)
    y = to_array(split.y)[:MOST_ROWS]
    personal = [str(name) for name in kinds_of(frame)]
    rows = [
        {str(name): _plain(value) for name, value in row.items()}
        for row in masked(frame).head(MOST_ROWS).iloc[:, :MOST_COLUMNS].to_dict("records")
    ]
    return [{label: _plain(answer), **row} for row, answer in zip(rows, y, strict=False)], personal


def _frame(X: Any) -> pd.DataFrame:
    """At most 200 rows of inputs as a frame; the rows of an array are flattened."""
    if isinstance(X, pd.DataFrame):
        return X.head(200)
    array = to_array(X[:MOST_ROWS])
    flat = array.reshape(len(array), -1)
    return pd.DataFrame(
        flat[:, : MOST_COLUMNS // 2], columns=[f"[{index}]" for index in range(min(flat.shape[1], MOST_COLUMNS // 2))]
    )


def _plain(value: object) -> bool | int | float | str | None:
    if isinstance(value, np.ndarray | list | tuple):
        return ", ".join(str(_plain(item)) for item in list(value)[:12])
    if hasattr(value, "item"):
        value = value.item()
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def sample_images(splits: Sequence[Split]) -> tuple[Array, list[bool | int | float | str | None]] | None:
    """Up to 16 images and labels of the first of some splits that holds images; None when none does."""
    for split in splits:
        if isinstance(split.X, pd.DataFrame | Mapping) or not looks_like_images(np.shape(split.X)):
            continue
        images = to_array(split.X[:MOST_IMAGES])
        if images.dtype.kind in "buif":
            return images, [_plain(value) for value in to_array(split.y)[:MOST_IMAGES]]
    return None


def looks_like_images(shape: tuple[int, ...]) -> bool:
    """Whether inputs of that shape are images `(N, H, W)`, `(N, C, H, W)` or `(N, H, W, C)`."""
    sides = sorted(shape[1:])
    return len(shape) in (3, 4) and shape[0] > 0 and sides[-2] >= SMALLEST_SIDE and 4 * sides[-2] >= sides[-1]
