"""Samples that are images, and a gallery of them as a file of a run's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from firstfault.charts.files import write_picture
from firstfault.charts.svg import whole
from firstfault.charts.tiles import Tile, in_rows, tiles
from firstfault.data.splits import to_array

Array = np.ndarray[Any, Any]

COLOURED = (3, 4)  # channels of RGB, and of RGB with transparency
SMALLEST_SIDE = 8  # pixels: smaller arrays are windows or patches, no images
ACROSS = 8  # images in a row of a picture


def images_of(X: Any, rows: Any) -> Array | None:
    """The given samples as `(N, H, W)` or `(N, H, W, 3)` float arrays; None for what are no images."""
    if isinstance(X, pd.DataFrame) or np.ndim(X) not in (3, 4):
        return None
    values = to_array(X[rows])
    if values.dtype.kind not in "fiub":
        return None
    values = values.astype(np.float64)
    if values.ndim == 4:
        values = _channels_last(values)
    if min(values.shape[1:3]) < SMALLEST_SIDE:
        return None
    return values


def _channels_last(values: Array) -> Array:
    if values.shape[1] in (1, *COLOURED) and values.shape[3] not in (1, *COLOURED):
        values = values.transpose(0, 2, 3, 1)
    return values[..., :3] if values.shape[3] in COLOURED else values[..., 0]


def gallery(images: Array, captions: list[str], folder: Path, name: str, *, title: str) -> str:
    """Draw images with a caption each in rows; the name of the file."""
    made = [Tile(image, (caption,)) for image, caption in zip(images, captions, strict=True)]
    return write_picture(folder, name, whole(title, tiles(in_rows(made, ACROSS))))
