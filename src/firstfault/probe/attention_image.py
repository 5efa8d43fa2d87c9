"""An attention pattern as an image."""

from __future__ import annotations

from typing import Any

import numpy as np

SIDE = 256
"""Pixels of a side, about."""
DARK, MIDDLE, BRIGHT = "#440154", "#21918c", "#fde725"
"""The ends and the middle of viridis."""


def image_of(pattern: list[list[float]]) -> np.ndarray[Any, Any]:
    """Attention weights `(queries, keys)` as RGB `(height, width, 3)` of bytes, bright where they are large.

    Queries run downwards.
    """
    from PIL import Image, ImageOps

    weights = np.nan_to_num(np.asarray(pattern, dtype=float), posinf=0.0, neginf=0.0)
    scale = max(1, SIDE // max(weights.shape))
    shares = (weights / max(float(weights.max()), 1e-12)).clip(0.0, 1.0)
    grey = Image.fromarray(np.kron((255 * shares).astype(np.uint8), np.ones((scale, scale), np.uint8)))
    return np.asarray(ImageOps.colorize(grey, DARK, BRIGHT, MIDDLE))
