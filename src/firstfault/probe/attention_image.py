"""An attention pattern as an image."""

from __future__ import annotations

from typing import Any

import numpy as np

SIDE = 256


def image_of(pattern: list[list[float]]) -> np.ndarray[Any, Any]:
    """Attention weights `(queries, keys)` as RGB `(height, width, 3)` of bytes, bright where they are large; queries run downwards."""
    import matplotlib

    weights = np.nan_to_num(np.asarray(pattern, dtype=float), posinf=0.0, neginf=0.0)
    scale = max(1, SIDE // max(weights.shape))
    colours = matplotlib.colormaps["viridis"](weights / max(float(weights.max()), 1e-12))[..., :3]
    return np.kron((255 * colours).astype(np.uint8), np.ones((scale, scale, 1), np.uint8))
