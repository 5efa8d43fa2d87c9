"""Samples as pictures, and figures as files of a run's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from firstfault.data.splits import to_array
from firstfault.extras import optional_files
from firstfault.output.escaping import unparsed
from firstfault.output.whole_files import replacing

Array = np.ndarray[Any, Any]

COLOURED = (3, 4)
SMALLEST_SIDE = 8  # pixels: smaller arrays are windows or patches, no images
INK, MUTED, ALARM = "#24292f", "#6e7781", "#c62828"


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


def shown(image: Array) -> Array:
    """One image stretched to 0–1, what is not finite as 0."""
    known = image[np.isfinite(image)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    return np.nan_to_num((image - low) / max(high - low, 1e-12), nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1)


def figure(width: float, height: float) -> Any:
    """An empty figure of that size in inches, on a canvas that needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(made)
    return made


def save(made: Any, folder: Path, name: str) -> str:
    """Write a figure as a PNG of that name; the name."""
    with replacing(Path(folder) / name) as draft:
        unparsed(made).savefig(draft, dpi=110)
    return name


@optional_files
def gallery(
    images: Array, captions: list[str], folder: Path, name: str, *, title: str, across: int = 8
) -> tuple[str, ...]:
    """Draw images with a caption each in a grid; the name of the file."""
    down = -(-len(images) // across)
    made = figure(1.15 * min(across, max(len(images), 4)), 1.45 * down + 0.4)
    for place, (image, caption) in enumerate(zip(images, captions, strict=True)):
        axes = made.add_subplot(down, min(across, max(len(images), 4)), place + 1)
        axes.imshow(shown(image), cmap="gray", interpolation="nearest")
        axes.set_title(caption, fontsize=8, color=INK)
        axes.set_axis_off()
    made.suptitle(title, fontsize=9, color=MUTED, x=0.01, ha="left")
    return (save(made, folder, name),)
