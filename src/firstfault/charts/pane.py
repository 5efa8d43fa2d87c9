"""The area of one chart: its axes with their ticks, labels and grid, and what is drawn by its scales."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from firstfault.charts.axes import Scale
from firstfault.charts.svg import words
from firstfault.output.numbers import number

ROOM_PER_TICK = 64


@dataclass(frozen=True)
class Pane:
    """Where the scales of a chart lie: `across` from left to right, `up` from the floor to the top."""

    across: Scale
    up: Scale

    def frame(
        self,
        x_label: str,
        y_label: str = "",
        *,
        whole: bool = False,
        x_ticks: Sequence[float] | None = None,
        x_text: Callable[[float], str] | None = None,
        y_text: Callable[[float], str] | None = None,
    ) -> str:
        """The axes; `whole` leaves out ticks between whole numbers on the x axis, whose own `x_ticks` may be given."""
        middle, floor = (self.across.start + self.across.end) / 2, self.up.start
        names = words(x_label, middle, floor + 35, anchor="middle")
        if y_label:
            names += words(y_label, self.across.start - 8, self.up.end - 9)
        wide = self.across.ticks(max(2, int((self.across.end - self.across.start) / ROOM_PER_TICK)))
        columns = [x for x in (wide if x_ticks is None else x_ticks) if not whole or float(x).is_integer()]
        return self._rows(y_text or tick_text) + self._columns(columns, x_text or tick_text) + self._floor() + names

    def _rows(self, text: Callable[[float], str]) -> str:
        left, right = self.across.start, self.across.end
        return "".join(
            f'<line class="grid" x1="{left:g}" x2="{right:g}" y1="{self.up(tick):.1f}" y2="{self.up(tick):.1f}"/>'
            f'<text class="tick" x="{left - 8:g}" y="{self.up(tick) + 4:.1f}" text-anchor="end">{text(tick)}</text>'
            for tick in self.up.ticks(4)
        )

    def _columns(self, ticks: Iterable[float], text: Callable[[float], str]) -> str:
        height = self.up.start + 17
        return "".join(
            f'<text class="tick" x="{self.across(tick):.1f}" y="{height:g}" text-anchor="middle">{text(tick)}</text>'
            for tick in ticks
        )

    def _floor(self) -> str:
        left, right, floor = self.across.start, self.across.end, self.up.start
        return f'<line class="axis" x1="{left:g}" x2="{right:g}" y1="{floor:g}" y2="{floor:g}"/>'

    def dots(self, points: Iterable[tuple[float, float]], style: str) -> str:
        """A dot at each point, all in one path; points that are not finite are left out."""
        finite = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
        places = "".join(f"M{self.across(x):.1f} {self.up(y):.1f}h0" for x, y in finite)
        return f'<path class="dots {style}" d="{places}"/>' if places else ""

    def rings(self, points: Iterable[tuple[float, float]]) -> str:
        """A ring around each point."""
        return "".join(
            f'<circle class="rings" cx="{self.across(x):.1f}" cy="{self.up(y):.1f}" r="5.5"/>' for x, y in points
        )

    def thread(self, points: Iterable[tuple[float, float]], style: str) -> str:
        """A thin line through the points that are finite."""
        finite = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
        places = "L".join(f"{self.across(x):.1f} {self.up(y):.1f}" for x, y in finite)
        return f'<path class="thread {style}" d="M{places}"/>' if len(finite) > 1 else ""


def tick_text(tick: float) -> str:
    """The number at a tick; very small and large ones as a power of ten."""
    if tick and (abs(tick) < 1e-3 or abs(tick) >= 1e6):
        exponent = math.floor(math.log10(abs(tick)) + 1e-9)
        front = tick / 10**exponent
        ten = f'10<tspan dy="-5" font-size="9">{number(exponent)}</tspan>'
        return ten if abs(front - 1) < 1e-6 else f"{front:.3g}·{ten}"
    return number(tick)
