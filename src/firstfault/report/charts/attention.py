"""The attention weights of a training's last sampled step."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from firstfault.charts.heat import cells, shading
from firstfault.report.charts.module_rows import TOP, WIDTH, inside_picture, label, some_of

if TYPE_CHECKING:
    from firstfault.probe.record import Attention


MOST_ATTENTIONS, PER_LINE = 12, 4


def attention_patterns(attention: Mapping[str, Attention], sick: Collection[str] = ()) -> Markup | None:
    """The last attention weights of the first sample, as the mean over heads: queries down, keys across."""
    shown = [(name, entry) for name, entry in attention.items() if entry.pattern]
    shown = some_of(shown, MOST_ATTENTIONS)
    if not shown:
        return None
    gap = 14
    size = (WIDTH - gap * (PER_LINE - 1)) / PER_LINE
    drawn = []
    for number, (name, entry) in enumerate(shown):
        x, y = number % PER_LINE * (size + gap), TOP + 12 + number // PER_LINE * (size + 44)
        drawn.append(_pattern(entry.pattern, x, y + 22, size) + label(name, x, y, name in sick, most=17))
        drawn.append(
            f'<text class="tick" x="{x:.1f}" y="{y + 15:.1f}">entropy {entry.entropy.values[-1]:.2f}</text>'
            if len(entry.entropy)
            else ""
        )
    lines = math.ceil(len(shown) / PER_LINE)
    about = f"Attention weights of {len(shown)} modules: " + ", ".join(name for name, _ in shown)
    return inside_picture(
        "Attention", "queries down, keys across; entropy 1 is even attention", about, TOP + lines * (size + 44), drawn
    )


def _pattern(pattern: Sequence[Sequence[float]], x: float, y: float, size: float) -> str:
    high = max((value for row in pattern for value in row if math.isfinite(value)), default=1.0)
    rows: list[list[float | None]] = [[None if value == 0 else value for value in row] for row in pattern]
    cell = size / max(len(pattern), max(map(len, pattern)))
    width, height = cell * max(map(len, pattern)), cell * len(pattern)
    frame = f'<rect class="frame" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>'
    return cells(rows, shading([0.0, high]), x, y, cell, cell) + frame
