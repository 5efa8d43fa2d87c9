"""Shares with their intervals, a row each, against the share that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from firstfault.behaviour.statistics import Rate
from firstfault.charts.axes import Scale, fit
from firstfault.charts.svg import Part, whole, words
from firstfault.output.numbers import percent

WIDTH, LEFT, RIGHT, ROW, FLOOR = 760.0, 220.0, 150.0, 26.0, 44.0
LONGEST = 32


@dataclass(frozen=True)
class Row:
    """One share; `style` is a class of colour: better, worse, other or plain."""

    name: str
    rate: Rate
    style: str


def interval_picture(title: str, rows: Sequence[Row], bound: float, x_label: str) -> Markup | None:
    """A dot at each share and a line over its interval; a line stands at the bound. None without rows of something."""
    known = [row for row in rows if row.rate.n]
    if not known:
        return None
    across, floor = fit([0.0, 1.0], LEFT, WIDTH - RIGHT, pad=0.0), ROW * len(known)
    ticks = "".join(
        f'<line class="grid" x1="{across(tick):.1f}" x2="{across(tick):.1f}" y1="0" y2="{floor:g}"/>'
        f'<text class="tick" x="{across(tick):.1f}" y="{floor + 17:g}" text-anchor="middle">{percent(tick)}</text>'
        for tick in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    )
    asked = f'<line class="before" x1="{across(bound):.1f}" x2="{across(bound):.1f}" y1="0" y2="{floor:g}"/>'
    drawn = "".join(_row(row, across, ROW * (place + 0.5)) for place, row in enumerate(known))
    axis = f'<line class="axis" x1="{LEFT:g}" x2="{WIDTH - RIGHT:g}" y1="{floor:g}" y2="{floor:g}"/>'
    label = words(x_label, (LEFT + WIDTH - RIGHT) / 2, floor + 36, anchor="middle")
    about = "; ".join(f"{row.name} {row.rate}" for row in known)
    return whole(title, Part(ticks + axis + asked + drawn + label, WIDTH, floor + FLOOR, about))


def _row(row: Row, across: Scale, y: float) -> str:
    rate = row.rate
    return (
        words(row.name, LEFT - 12, y + 4, "label", anchor="end", most=LONGEST)
        + f'<line class="whisker {row.style}" x1="{across(rate.low):.1f}" x2="{across(rate.high):.1f}"'
        + f' y1="{y:g}" y2="{y:g}"/><path class="dots large {row.style}" d="M{across(rate.value):.1f} {y:g}h0"/>'
        + words(str(rate), WIDTH - RIGHT + 14, y + 4, f"value {row.style}")
    )
