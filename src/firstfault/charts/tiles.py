"""Samples as pictures in rows, each with its caption, and framed where something in it is to be seen."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from firstfault.charts.png import image_png, small
from firstfault.charts.svg import Part, words
from firstfault.metrics import Array

SIDE, GAP, LINE = 104.0, 12.0, 14.0
LONGEST_SIDE = 80  # pixels: thirty-two tiles of noise in colour stay below a megabyte
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Tile:
    """One image, the lines of its caption, and the frame `(top, left, bottom, right)` of pixels that are to be seen."""

    image: Array
    caption: Sequence[str] = ()
    frame: Box | None = None
    bounds: tuple[float, float] | None = None


def in_rows(made: Sequence[Tile], across: int) -> list[Sequence[Tile]]:
    """The tiles in rows of so many."""
    return [made[first : first + across] for first in range(0, len(made), across)]


def tiles(rows: Sequence[Sequence[Tile]]) -> Part:
    """The tiles of each row side by side, their captions below them."""
    drawn, y = [], 0.0
    for row in rows:
        lines = max((len(tile.caption) for tile in row), default=0)
        for place, tile in enumerate(row):
            drawn.append(_tile(tile, place * (SIDE + GAP), y))
        y += SIDE + lines * LINE + GAP + 2
    width = max((len(row) for row in rows), default=1) * (SIDE + GAP) - GAP
    about = ", ".join(" ".join(tile.caption) for row in rows for tile in row if tile.caption)
    return Part("".join(drawn), max(width, 4 * (SIDE + GAP)), y - GAP, about)


def _tile(tile: Tile, x: float, y: float) -> str:
    pixels = small(tile.image, LONGEST_SIDE)
    png = base64.b64encode(image_png(pixels, tile.bounds)).decode()
    captions = "".join(
        words(line, x + SIDE / 2, y + SIDE + LINE * (place + 1), anchor="middle", most=17)
        for place, line in enumerate(tile.caption)
    )
    return (
        f'<image x="{x:.1f}" y="{y:.1f}" width="{SIDE:g}" height="{SIDE:g}" style="image-rendering:pixelated" '
        f'href="data:image/png;base64,{png}"/>{_frame(tile, x, y)}{captions}'
    )


def _frame(tile: Tile, x: float, y: float) -> str:
    """A frame around some pixels, on an image that fills the tile by its longer side."""
    if tile.frame is None:
        return ""
    height, width = tile.image.shape[:2]
    scale = SIDE / max(height, width)
    top, left, bottom, right = tile.frame
    x, y = x + (SIDE - width * scale) / 2 + left * scale, y + (SIDE - height * scale) / 2 + top * scale
    return (
        f'<rect class="rings" x="{x:.1f}" y="{y:.1f}" width="{(right - left + 1) * scale:.1f}" '
        f'height="{(bottom - top + 1) * scale:.1f}"/>'
    )
