"""Curves as inline SVG: no script, readable in print, described for screen readers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from firstfault.charts.axes import Scale, fit
from firstfault.charts.pane import Pane
from firstfault.charts.svg import picture
from firstfault.output.numbers import number

WIDTH, HEIGHT = 540, 264
LEFT, RIGHT, TOP, BOTTOM = 54, 84, 34, 40
MOST_POINTS = 400
LABEL_HEIGHT = 16


@dataclass(frozen=True)
class Line:
    """One curve; `style` is a CSS class (train, validation or step)."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    style: str = "step"
    crossed: bool = True
    """Whether a value that is not finite is a loss, and has a cross; else nothing was measured there."""


@dataclass(frozen=True)
class Mark:
    """A finding at a place on the x axis."""

    x: float
    text: str


def line_chart(
    title: str,
    lines: Sequence[Line],
    *,
    x_label: str,
    log: bool = False,
    marks: Sequence[Mark] = (),
    ticks: Sequence[float] = (),
    within: Sequence[float] = (),
) -> Markup:
    """A chart of some curves, each named at its end; a value that is not finite leaves a gap and a cross.

    `marks` are vertical lines with a text, `ticks` small ticks on the x axis (ends of epochs), `within` values that
    the y axis holds besides those of the curves.
    """
    xs = [x for line in lines for x in line.x]
    across = fit(xs, LEFT, WIDTH - RIGHT, pad=0.0)
    up = fit([*within, *(y for line in lines for y in line.y)], HEIGHT - BOTTOM, TOP, log=log)
    parts = [
        Pane(across, up).frame(x_label, whole=all(float(x).is_integer() for x in xs)),
        *(_tick(across(tick)) for tick in ticks),
        *_marks(across, marks),
        *(_curve(line, across, up) for line in lines),
        *_names(lines, up),
    ]
    return picture(title, describe(lines, marks), WIDTH, HEIGHT, parts)


def band_chart(
    title: str,
    x: Sequence[float],
    low: Sequence[float],
    middle: Sequence[float],
    high: Sequence[float],
    *,
    x_label: str,
    usual: tuple[float, float],
    marks: Sequence[Mark] = (),
) -> Markup:
    """A curve within a band, on a logarithmic scale; `usual` are the bounds between which it is expected."""
    across = fit(x, LEFT, WIDTH - RIGHT, pad=0.0)
    up = fit([value for value in (*low, *high, *usual) if value > 0], HEIGHT - BOTTOM, TOP, log=True)
    line = Line("median", x, middle)
    parts = [
        _usual(up, usual),
        Pane(across, up).frame(x_label, whole=True),
        *_marks(across, marks),
        _band(x, low, high, across, up),
        _curve(line, across, up),
        *_names([line], up),
    ]
    about = (
        f"{describe([line], marks)}; between {number(min(low))} and {number(max(high))}, "
        f"usual are {number(usual[0])} to {number(usual[1])}"
    )
    return picture(title, about, WIDTH, HEIGHT, parts)


def _band(x: Sequence[float], low: Sequence[float], high: Sequence[float], across: Scale, up: Scale) -> str:
    places = sorted({int(place) for ends in (low, high) for place, _ in thin(range(len(x)), ends)})
    there = [f"{across(x[place]):.1f},{up(high[place]):.1f}" for place in places]
    back = [f"{across(x[place]):.1f},{up(low[place]):.1f}" for place in reversed(places)]
    return f'<polygon class="band" points="{" ".join(there + back)}"/>'


def _usual(up: Scale, usual: tuple[float, float]) -> str:
    right, (bottom, top) = WIDTH - RIGHT, (up(bound) for bound in usual)
    return (
        f'<rect class="usual" x="{LEFT}" y="{top:.1f}" width="{right - LEFT}" height="{bottom - top:.1f}"/>'
        f'<text class="tick" x="{right + 8}" y="{top + 4:.1f}">usual</text>'
    )


def describe(lines: Sequence[Line], marks: Sequence[Mark] = ()) -> str:
    """What curves show, in a sentence."""
    ends = [f"{line.name} from {number(line.y[0])} to {number(line.y[-1])}" for line in lines if len(line.y)]
    return "; ".join([", ".join(ends), *(mark.text for mark in marks)])


def _tick(x: float) -> str:
    floor = HEIGHT - BOTTOM
    return f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{floor}" y2="{floor + 4}"/>'


def _marks(across: Scale, marks: Sequence[Mark]) -> list[str]:
    drawn = []
    for index, mark in enumerate(marks[:9]):
        x = across(mark.x)
        drawn.append(
            f'<g class="mark"><title>{escape(mark.text)}</title>'
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
            f'<circle cx="{x:.1f}" cy="{TOP}" r="8"/>'
            f'<text x="{x:.1f}" y="{TOP + 4}" text-anchor="middle">{index + 1}</text></g>'
        )
    return drawn


def _curve(line: Line, across: Scale, up: Scale) -> str:
    points = thin(line.x, line.y)
    runs: list[list[str]] = [[]]
    lost = []
    for x, y in points:
        if math.isfinite(y):
            runs[-1].append(f"{across(x):.1f},{up(y):.1f}")
        else:
            runs.append([])
            lost += [across(x)] * line.crossed
    drawn = "".join(
        f'<polyline class="{line.style}" points="{" ".join(run)}"/>' if len(run) > 1 else _dot(line, run[0])
        for run in runs
        if run
    )
    if len(points) <= 12:
        drawn += "".join(_dot(line, point) for run in runs for point in run)
    return drawn + "".join(_cross(x) for x in lost[:20])


def _dot(line: Line, point: str) -> str:
    x, y = point.split(",")
    return f'<circle class="{line.style}" cx="{x}" cy="{y}" r="3"/>'


def _cross(x: float) -> str:
    y = TOP + 8
    return f'<path class="lost" d="M{x - 4:.1f} {y - 4}l8 8m0 -8l-8 8"><title>not finite</title></path>'


def thin(xs: Sequence[float], ys: Sequence[float], most: int = MOST_POINTS) -> list[tuple[float, float]]:
    """At most about `most` points of a curve: the lowest, the highest and the first bad value of each stretch."""
    pairs = list(zip(xs, ys, strict=False))
    if len(pairs) <= most:
        return pairs
    size = math.ceil(len(pairs) / (most // 2))
    kept = []
    for start in range(0, len(pairs), size):
        kept += _extremes(range(start, min(start + size, len(pairs))), ys)
    return [pairs[index] for index in kept]


def _extremes(stretch: range, ys: Sequence[float]) -> list[int]:
    bad = [index for index in stretch if not math.isfinite(ys[index])][:1]
    fine = [index for index in stretch if math.isfinite(ys[index])]
    ends = [min(fine, key=lambda index: ys[index]), max(fine, key=lambda index: ys[index])] if fine else []
    return sorted({*bad, *ends})


def _names(lines: Sequence[Line], up: Scale) -> list[str]:
    """The name and the last value of each curve at its end, moved apart where they would overlap."""
    ends = []
    for line in lines:
        finite = [y for y in line.y if math.isfinite(y)]
        ends.append((up(finite[-1]) if finite else float(HEIGHT - BOTTOM), line))
    ends.sort(key=lambda end: end[0])
    heights: list[float] = []
    for height, _ in ends:
        heights.append(max(height, heights[-1] + 2 * LABEL_HEIGHT) if heights else height)
    over = max(0.0, heights[-1] - (HEIGHT - BOTTOM - 6)) if heights else 0.0
    return [
        f'<text class="name {line.style}" x="{WIDTH - RIGHT + 8}" y="{height - over:.1f}">{escape(line.name)}'
        f'<tspan class="last" x="{WIDTH - RIGHT + 8}" dy="14">{_last(line)}</tspan></text>'
        for (_, line), height in zip(ends, heights, strict=True)
    ]


def _last(line: Line) -> str:
    return number(line.y[-1] if len(line.y) else None)
