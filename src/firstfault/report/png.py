"""Sample images as PNG bytes, written with the standard library alone."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
MOST_CHANNELS = 4
LONGEST_SIDE = 160


def image_png(image: Any) -> bytes:
    """An image `(H, W)`, `(C, H, W)` or `(H, W, C)` of any numeric dtype as PNG.

    Values are stretched from their smallest to their largest; NaN and infinity become black. One
    channel is grey, three are colour; of another number of channels the mean is shown.
    """
    pixels = _stretch(_channels_last(np.asarray(image)))
    height, width, channels = pixels.shape
    rows = b"".join(b"\x00" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if channels == 3 else 0, 0, 0, 0)
    parts = (_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(rows, 9)), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def small(image: Any) -> Array:
    """An image of which every so many pixels are taken, so that no side is longer than 160."""
    pixels = np.asarray(image)
    step = -(-max(pixels.shape) // LONGEST_SIDE)
    return pixels[tuple(slice(None, None, step if size > MOST_CHANNELS else 1) for size in pixels.shape)] if step > 1 else pixels


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _channels_last(image: Array) -> Array:
    if image.ndim == 2:
        return image[:, :, None]
    if image.shape[0] <= MOST_CHANNELS < image.shape[-1] or image.shape[-1] > MOST_CHANNELS:
        image = np.moveaxis(image, 0, -1)
    return image[:, :, :3] if image.shape[-1] in (3, 4) else image.mean(-1, keepdims=True)


def _stretch(image: Array) -> Array:
    values = image.astype(np.float64)
    finite = np.isfinite(values)
    low, high = (values[finite].min(), values[finite].max()) if finite.any() else (0.0, 1.0)
    scaled = (np.where(finite, values, low) - low) / (high - low or 1.0)
    return (scaled * 255).round().astype(np.uint8)
