"""A row for each module in a picture of what went on inside a training."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

import numpy as np
from markupsafe import Markup, escape

from firstfault.charts.svg import picture

WIDTH, LEFT, RIGHT, TOP = 540, 176, 14, 34
ROW, MOST_ROWS = 17, 32
LONGEST = 24
T = TypeVar("T")


def some_of(items: list[T], most: int = MOST_ROWS) -> list[T]:
    """At most so many of some items, evenly taken, the first and the last among them."""
    if len(items) <= most:
        return items
    return [items[place] for place in np.linspace(0, len(items) - 1, most).round().astype(int)]


def labels(
    names: Mapping[str, object], sick: Collection[str], top: float = TOP, kinds: Mapping[str, str] | None = None
) -> str:
    """The name of each module at the left of its row; a blamed one is in colour, and `kinds` stand behind the names."""
    return "".join(
        label(
            name, LEFT - 8, top + ROW * number + 12, _blamed(name, sick), anchor="end", note=(kinds or {}).get(name, "")
        )
        for number, name in enumerate(names)
    )


def _blamed(name: str, sick: Collection[str]) -> bool:
    """Whether a module, or a part that is shown as one with others, is blamed."""
    return name in sick or any(other.startswith(f"{name}.") for other in sick)


def label(
    name: str, x: float, y: float, bad: bool, *, anchor: str = "start", note: str = "", most: int = LONGEST
) -> str:
    """The end of a module's name that fits, with a note behind it; all of it where the pointer rests."""
    room = most - (len(note) + 1 if note and len(note) < most - 6 else 0)
    text = _ending(name, room)
    kind = f' <tspan class="kind">{escape(note)}</tspan>' if note and len(note) < most - 6 else ""
    style = "label sick" if bad else "label"
    said = f"{escape(text)}{kind}<title>{escape(name)}</title>"
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{said}</text>'


def _ending(name: str, most: int) -> str:
    """The last parts of a dotted name that fit."""
    if len(name) <= most:
        return name
    parts = name.split(".")
    endings = (".".join(parts[first:]) for first in range(1, len(parts)))
    return f"…{next((ending for ending in endings if len(ending) < most), name[1 - most :])}"


def inside_picture(title: str, note: str, about: str, height: float, body: Sequence[str]) -> Markup:
    """A picture of the usual width, with a note beside its title."""
    return picture(title, about, WIDTH, height, body, note=note)
