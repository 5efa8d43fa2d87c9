"""Pictures of the report, drawn as SVG or PNG into the page."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH, HEIGHT = 420, 190
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 12, 26
COLOURS = ("#0a5cc2", "#c2410c", "#15803d", "#7c3aed")


def line_chart(title: str, series: Mapping[str, Sequence[float]], unit: str, *, log: bool = False) -> str:
    """An SVG of curves over epochs or steps; values that are not finite are gaps."""
    points = {name: [_scale(value, log) for value in values] for name, values in series.items()}
    finite = [value for values in points.values() for value in values if value is not None]
    if not finite:
        return ""
    low, high = min(finite), max(finite)
    high = high if high > low else low + 1
    longest = max(len(values) for values in points.values())
    lines = "".join(_line(values, low, high, longest, COLOURS[index % 4]) for index, values in enumerate(points.values()))
    labels = "".join(
        f'<text x="{LEFT + 4 + 130 * index}" y="{TOP + 4}" fill="{COLOURS[index % 4]}" class="key">{name}</text>'
        for index, name in enumerate(points)
    ) if len(points) > 1 else ""
    ticks = "".join(
        f'<text x="{LEFT - 6}" y="{_y(value, low, high) + 4:.0f}" text-anchor="end">{_number(10 ** value if log else value)}</text>'
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{_y(value, low, high):.1f}" y2="{_y(value, low, high):.1f}" class="grid"/>'
        for value in (low, (low + high) / 2, high)
    )
    foot = f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">{longest} {unit}</text>'
    return (
        f'<figure><figcaption>{title}</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">'
        f"{ticks}{lines}{labels}{foot}</svg></figure>"
    )


def _scale(value: float, log: bool) -> float | None:
    if not isinstance(value, int | float) or not math.isfinite(value):
        return None
    if not log:
        return float(value)
    return math.log10(value) if value > 0 else None


def _y(value: float, low: float, high: float) -> float:
    return TOP + 8 + (HEIGHT - TOP - BOTTOM - 8) * (1 - (value - low) / (high - low))


def _line(values: Sequence[float | None], low: float, high: float, longest: int, colour: str) -> str:
    step = (WIDTH - LEFT - RIGHT) / max(1, longest - 1)
    parts: list[str] = []
    pen_up = True
    for index, value in enumerate(values):
        if value is None:
            pen_up = True
            continue
        parts.append(f"{'M' if pen_up else 'L'}{LEFT + index * step:.1f} {_y(value, low, high):.1f}")
        pen_up = False
    return f'<path d="{" ".join(parts)}" fill="none" stroke="{colour}" stroke-width="1.8" stroke-linejoin="round"/>'


def _number(value: float) -> str:
    return f"{value:.3g}"


def swap_bars(before: float, after: float) -> str:
    """An SVG of two bars, before and after a swap, on a scale from 0 to the larger."""
    low = min(0.0, before, after)
    top = max(before, after, 1e-9)
    bars = ""
    for row, (name, value, colour) in enumerate((("before", before, "#b42318"), ("after", after, "#15803d"))):
        length = max(2.0, 210 * (value - low) / (top - low))
        bars += (
            f'<text x="0" y="{18 + 30 * row}">{name}</text><rect x="52" y="{4 + 30 * row}" width="{length:.0f}" height="20" rx="3" fill="{colour}"/>'
            f'<text x="{60 + length:.0f}" y="{18 + 30 * row}" class="value">{value:.3f}</text>'
        )
    return f'<svg class="bars" viewBox="0 0 330 60" role="img" aria-label="before {before:.3f}, after {after:.3f}">{bars}</svg>'


def picture(image: Any) -> str:
    """A sample image as a PNG data URI, stretched to its own range."""
    from matplotlib import image as matplotlib_image

    buffer = io.BytesIO()
    values = image.astype(float)
    spread = values.max() - values.min()
    values = (values - values.min()) / (spread or 1.0)
    matplotlib_image.imsave(buffer, values, cmap="gray" if values.ndim == 2 else None, format="png")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
