"""Heat maps as SVG: cells of nine shades, those of one shade in one path, in the colours of the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from firstfault.output.numbers import number

SHADES = 9
MOST_DECADES = 8.0


@dataclass(frozen=True)
class Shading:
    """Turns a value into a class of colour by where it lies between the bounds: h0 … h8, or those of another `kind`.

    The kinds are h for cells, d for cells about a middle, v for points. A value of 0 on a logarithmic scale is `zero`,
    and one that is not finite `bad`.
    """

    low: float
    high: float
    log: bool = False
    kind: str = "h"

    def __call__(self, value: float | None) -> str | None:
        if value is None:
            return None
        if not math.isfinite(value):
            return "bad"
        if self.log:
            if value <= 0:
                return "zero"
            value = math.log10(value)
        share = (value - self.low) / max(self.high - self.low, 1e-12)
        return f"{self.kind}{min(SHADES - 1, max(0, int(share * SHADES)))}"


def shading(values: Sequence[float], *, log: bool = False) -> Shading:
    """The shades of some values; logarithmic ones span whole decades, the upper 8 at most."""
    finite = [value for value in values if math.isfinite(value) and (value > 0 or not log)]
    if not log:
        return Shading(min(finite, default=0.0), max(finite, default=1.0))
    if not finite:
        return Shading(-1.0, 0.0, True)
    high = math.ceil(math.log10(max(finite)) - 1e-9)
    low = math.floor(math.log10(min(finite)) + 1e-9)
    return Shading(float(max(min(low, high - 1), high - MOST_DECADES)), float(high), True)


def cells(
    rows: Sequence[Sequence[float | None]], shades: Shading, x: float, y: float, width: float, height: float
) -> str:
    """The cells of `rows` from the top left corner (x, y), each of that width and height; None leaves a gap."""
    paths: dict[str, list[str]] = {}
    for line, row in enumerate(rows):
        for first, count, shade in _runs([shades(value) for value in row]):
            corner = f"M{round(x + first * width, 1):g} {round(y + line * height, 1):g}"
            wide = round(count * width, 1)
            paths.setdefault(shade, []).append(f"{corner}h{wide:g}v{round(height, 1):g}h{-wide:g}z")
    return "".join(f'<path class="{shade}" d="{"".join(parts)}"/>' for shade, parts in sorted(paths.items()))


def _runs(shades: Sequence[str | None]) -> list[tuple[int, int, str]]:
    """Neighbours of one shade: the first, how many, and the shade."""
    found: list[tuple[int, int, str]] = []
    for place, shade in enumerate(shades):
        if found and shade == found[-1][2] and sum(found[-1][:2]) == place:
            found[-1] = found[-1][0], found[-1][1] + 1, shade
        elif shade is not None:
            found.append((place, 1, shade))
    return found


def legend(shades: Shading, x: float, y: float, width: float, *, extra: Sequence[tuple[str, str]] = ()) -> str:
    """The shades side by side with the values at both ends; `extra` are further classes with their words."""
    size = width / SHADES
    boxes = "".join(
        f'<rect class="{shades.kind}{shade}" x="{x + shade * size:.1f}" y="{y}" width="{size:.1f}" height="9"/>'
        for shade in range(SHADES)
    )
    ends = "".join(
        f'<text class="tick" x="{place:.1f}" y="{y + 9}" text-anchor="{anchor}">{_bound(bound, shades.log)}</text>'
        for place, anchor, bound in ((x - 6, "end", shades.low), (x + width + 6, "start", shades.high))
    )
    others, place = "", x + width + 52
    for name, words in extra:
        others += (
            f'<rect class="{name}" x="{place:.1f}" y="{y}" width="9" height="9"/>'
            f'<text class="tick" x="{place + 14:.1f}" y="{y + 9}">{words}</text>'
        )
        place += 30 + 7 * len(words)
    return boxes + ends + others


def _bound(bound: float, log: bool) -> str:
    return f'10<tspan dy="-5" font-size="9">{number(int(bound))}</tspan>' if log else number(bound)
