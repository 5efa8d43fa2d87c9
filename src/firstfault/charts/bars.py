"""Bars beside their names, and steps over bins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import escape

from firstfault.charts.axes import fit
from firstfault.charts.pane import Pane, tick_text
from firstfault.charts.svg import CHARACTER, Part, words
from firstfault.output.escaping import visible
from firstfault.output.numbers import percent

Array = np.ndarray[Any, Any]
BAR, GAP = 7.0, 9.0
LABELS, RIGHT, BOTTOM = 168, 16, 42
LONGEST = 24


@dataclass(frozen=True)
class Series:
    """Values of one name; `style` is a class of colour."""

    name: str
    values: Sequence[float]
    style: str


def share_bars(title: str, names: Sequence[str], series: Sequence[Series], *, x_label: str, width: float = 520) -> Part:
    """Shares, 0–1, as horizontal bars: below each other for every name, one of each series."""
    head = 22 if title else 0
    row = BAR * len(series) + GAP
    floor = head + row * len(names)
    left = min(LABELS, 22 + CHARACTER * min(LONGEST, max(map(len, names), default=0)))
    most = max((value for one in series for value in one.values), default=1.0)
    across = fit([0.0, min(1.0, 1.06 * most) or 1.0], left, width - RIGHT, pad=0.0)
    ticks = across.ticks(max(2, int((across.end - across.start) / 64)))
    lines = "".join(
        f'<line class="grid" x1="{across(tick):.1f}" x2="{across(tick):.1f}" y1="{head}" y2="{floor:g}"/>'
        f'<text class="tick" x="{across(tick):.1f}" y="{floor + 16:g}" text-anchor="middle">{percent_tick(tick)}</text>'
        for tick in ticks
    )
    labels = "".join(
        words(name, left - 8, head + row * place + row / 2 + 1, "label", anchor="end", most=LONGEST)
        for place, name in enumerate(names)
    )
    bars = "".join(
        f'<rect class="bar {one.style}" x="{left:.1f}" y="{head + row * place + GAP / 2 + BAR * at:.1f}" '
        f'width="{max(across(value) - left, 0):.1f}" height="{BAR - 1:g}">'
        f"<title>{escape(visible(one.name))}: {percent(value)}</title></rect>"
        for at, one in enumerate(series)
        for place, value in enumerate(one.values)
    )
    axis = f'<line class="axis" x1="{left:.1f}" x2="{left:.1f}" y1="{head}" y2="{floor:g}"/>'
    below = words(x_label, (left + width - RIGHT) / 2, floor + 34, anchor="middle")
    body = words(title, 0, 12, "heading", most=int(width / 7.2)) * bool(title) + lines + axis + labels + bars + below
    return Part(body, width, floor + BOTTOM, _told(title or x_label, names, series))


def percent_tick(share: float) -> str:
    """A share at a tick: whole percents, or as many digits as it needs."""
    return f"{share * 100:.3g} %"


def _told(title: str, names: Sequence[str], series: Sequence[Series]) -> str:
    """The first names with their shares, in words."""
    shown = [
        f"{name} {', '.join(f'{percent(one.values[place])} ({one.name})' for one in series)}"
        for place, name in enumerate(names[:3])
    ]
    return f"{title}: {'; '.join(shown)}{' …' if len(names) > len(shown) else ''}"


def histograms(
    title: str,
    edges: Sequence[float],
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    size: tuple[float, float],
) -> Part:
    """Steps of several series over the same bins: the first is filled, the others are lines over it."""
    width, height = size
    high = max((value for one in series for value in one.values), default=1.0) or 1.0
    pane = Pane(fit(edges, 46, width - 10, pad=0.0), fit([0.0, high * 1.05], height - BOTTOM, 44, pad=0.0))
    whole = all(float(edge + 0.5).is_integer() for edge in edges)
    drawn = "".join(
        f'<path class="{"outline" if at else "bar soft"} {one.style}" d="{_steps(pane, edges, one.values)}"/>'
        for at, one in enumerate(series)
    )
    frame = pane.frame(x_label, y_label, whole=whole, x_text=tick_text, y_text=percent_tick)
    body = words(title, 0, 12, "heading", most=int(width / 7.2)) + drawn + frame
    return Part(body, width, height, title)


def _steps(pane: Pane, edges: Sequence[float], heights: Sequence[float]) -> str:
    """The outline of steps from the floor to the floor."""
    places = [f"M{pane.across(edges[0]):.1f} {pane.up.start:g}"]
    for height, right in zip(heights, edges[1:], strict=True):
        places.append(f"V{pane.up(height):.1f}H{pane.across(right):.1f}")
    return "".join([*places, f"V{pane.up.start:g}"])


def bins_of(values: Array, most: int) -> Array:
    """Edges of bins over all but the extreme half per cent at either end; of a few whole numbers, one for each."""
    low, high = (float(value) for value in np.quantile(values, [0.005, 0.995]))
    if high - low <= 2 * most and (values % 1 == 0).all():
        return np.arange(np.floor(low) - 0.5, np.ceil(high) + 1.0)
    return np.linspace(low, high, most + 1) if high > low else np.array([low - 0.5, low + 0.5])


def shares_in(values: Array, edges: Array) -> list[float]:
    """The share of the values in each bin; those beyond the ends are in the last ones."""
    counts = np.histogram(values.clip(edges[0], edges[-1]), edges)[0]
    return [float(count) for count in counts / max(len(values), 1)]


def series_key(series: Sequence[Series]) -> list[tuple[str, str]]:
    """Classes with names, as a key shows them."""
    return [(one.style, one.name) for one in series]
