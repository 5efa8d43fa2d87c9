"""Points over two numbers, in groups or by the shade of a third."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from firstfault.charts.axes import fit
from firstfault.charts.heat import SHADES, Shading
from firstfault.charts.pane import Pane
from firstfault.charts.svg import Part, words
from firstfault.output.numbers import number

Point = tuple[float, float]
LEFT, RIGHT, TOP, BOTTOM, TITLE = 46, 12, 30, 42, 20


@dataclass(frozen=True)
class Group:
    """Points of one name; `style` is a class of colour."""

    name: str
    points: Sequence[Point]
    style: str


def scatter(
    title: str,
    groups: Sequence[Group],
    *,
    x_label: str,
    y_label: str,
    size: tuple[float, float],
    within: Sequence[Point] = (),
    ringed: Sequence[Point] = (),
) -> Part:
    """The groups over each other; the axes hold the points `within` too, and some are `ringed`."""
    points = [*within, *(point for group in groups for point in group.points)]
    width, height = size
    pane = Pane(
        fit([x for x, _ in points], LEFT, width - RIGHT, pad=0.03),
        fit([y for _, y in points], height - BOTTOM, TOP + TITLE * bool(title), pad=0.03),
    )
    body = (
        words(title, 0, 12, "heading", most=int(width / 7.2)) * bool(title)
        + pane.frame(x_label, y_label)
        + "".join(pane.dots(group.points, group.style) for group in groups)
        + pane.rings(ringed)
    )
    about = ", ".join(f"{len(group.points)} of {group.name}" for group in groups if group.name)
    return Part(body, width, height, f"{title or x_label}: {about}" if about else title)


def by_value(points: Sequence[Point], values: Sequence[float], shades: Shading) -> list[Group]:
    """The points in nine groups by their value; those without one are in none."""
    found: dict[str, list[Point]] = {}
    for point, value in zip(points, values, strict=True):
        if math.isfinite(value) and (shade := shades(value)) is not None:
            found.setdefault(shade, []).append(point)
    return [Group("", found[shade], shade) for shade in sorted(found)]


def value_key(shades: Shading, name: str) -> Part:
    """The shades one above the other, the largest on top, with the values at both ends."""
    boxes = "".join(
        f'<rect class="bar {shades.kind}{shade}" x="0" y="{26 + (SHADES - 1 - shade) * 14}" width="12" height="14"/>'
        for shade in range(SHADES)
    )
    ends = words(number(shades.high), 18, 36) + words(number(shades.low), 18, 24 + SHADES * 14)
    return Part(words(name, 0, 14) + boxes + ends, 90, 30 + SHADES * 14)
