"""Sample images as PNG bytes."""

from __future__ import annotations

import io

import numpy as np

from firstfault.metrics import Array

MOST_CHANNELS = 4
LONGEST_SIDE = 160


def image_png(image: Array, bounds: tuple[float, float] | None = None) -> bytes:
    """An image `(H, W)`, `(C, H, W)` or `(H, W, C)` of any numeric dtype as PNG.

    Values are stretched from their smallest to their largest, or between `bounds`; NaN and infinity become black. One
    channel is grey, three are colour; of another number of channels the mean is shown.
    """
    from PIL import Image

    pixels = _stretch(_channels_last(np.asarray(image)), bounds)
    file = io.BytesIO()
    Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[:, :, 0]).save(file, "PNG")
    return file.getvalue()


def small(image: Array, longest: int = LONGEST_SIDE) -> Array:
    """An image of which every so many pixels are taken, so that no side is longer than that."""
    pixels = np.asarray(image)
    step = -(-max(pixels.shape) // longest)
    return (
        pixels[tuple(slice(None, None, step if size > MOST_CHANNELS else 1) for size in pixels.shape)]
        if step > 1
        else pixels
    )


def _channels_last(image: Array) -> Array:
    if image.ndim == 2:
        return image[:, :, None]
    if image.shape[0] <= MOST_CHANNELS < image.shape[-1] or image.shape[-1] > MOST_CHANNELS:
        image = np.moveaxis(image, 0, -1)
    return image[:, :, :3] if image.shape[-1] in (3, 4) else image.mean(-1, keepdims=True)


def _stretch(image: Array, bounds: tuple[float, float] | None) -> Array:
    values = image.astype(np.float64)
    finite = np.isfinite(values)
    low, high = bounds or ((values[finite].min(), values[finite].max()) if finite.any() else (0.0, 1.0))
    scaled = (np.where(finite, values, low) - low) / (high - low or 1.0)
    return (scaled.clip(0, 1) * 255).round().astype(np.uint8)
