"""What the modules of a network gave at the end of a training."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from markupsafe import Markup

from firstfault.output.numbers import percent
from firstfault.report.charts.module_rows import LEFT, MOST_ROWS, ROW, TOP, WIDTH, inside_picture, labels

if TYPE_CHECKING:
    from firstfault.probe.record import Activations


LARGE = 0.5
"""The share from which a bar is drawn as an alarm; what is a fault, the checks say."""


def activation_health(activations: Mapping[str, Activations], sick: Collection[str] = ()) -> Markup | None:
    """The last outputs that were seen of each module: the share of zeros, of values beyond ±5, and of dead units."""
    seen = {name: entry for name, entry in activations.items() if len(entry.zero)}
    shown = _notable(seen)
    if not shown:
        return None
    wide = (WIDTH - LEFT) / 3
    heads = "".join(
        f'<text class="tick" x="{LEFT + wide * place:.1f}" y="{TOP + 10}">{words}</text>'
        for place, words in enumerate(("zero", "beyond ±5", "dead units"))
    )
    bars = "".join(
        _share(
            series.values[-1] if len(series) else math.nan,
            LEFT + wide * place,
            TOP + 18 + ROW * number,
            wide - 52,
            alarms,
        )
        if math.isfinite(entry.mean.values[-1])
        else _not_finite(LEFT + wide * place, TOP + 18 + ROW * number, place)
        for number, entry in enumerate(shown.values())
        for place, (series, alarms) in enumerate(((entry.zero, 1.0), (entry.beyond, LARGE), (entry.dead, LARGE)))
    )
    worst = max(shown.items(), key=lambda item: _known(item[1].beyond.values[-1]))
    most = percent(_known(worst[1].beyond.values[-1]))
    about = f"Last outputs of {len(shown)} modules; most values beyond ±5: {worst[0]}, {most}"
    body = [heads, labels(shown, sick, TOP + 18, kinds={name: entry.kind for name, entry in shown.items()}), bars]
    note = (
        "share of the outputs of each module"
        if len(shown) == len(seen)
        else f"the {len(shown)} most striking of {len(seen)} modules"
    )
    return inside_picture("Activations at the end", note, about, TOP + 22 + ROW * len(shown), body)


def _notable(activations: Mapping[str, Activations]) -> dict[str, Activations]:
    """At most 32 modules in their order.

    They are those that are not finite, have most values beyond ±5 or dead units, or only zeros.
    """
    ranked = set(sorted(activations, key=lambda name: _strikes(activations[name]), reverse=True)[:MOST_ROWS])
    return {name: entry for name, entry in activations.items() if name in ranked}


def _strikes(entry: Activations) -> tuple[bool, float, bool]:
    beyond, dead, zero = (
        _known(series.values[-1]) if len(series) else 0.0 for series in (entry.beyond, entry.dead, entry.zero)
    )
    return not math.isfinite(entry.mean.values[-1]), max(beyond, dead, float(zero == 1)), "Dropout" not in entry.kind


def _not_finite(x: float, y: float, place: int) -> str:
    return f'<text class="tick alarm" x="{x:.1f}" y="{y + 12}">not finite</text>' if place == 0 else ""


def _known(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def _share(value: float, x: float, y: float, width: float, alarms: float) -> str:
    if not math.isfinite(value):
        return f'<text class="tick" x="{x:.1f}" y="{y + 12}">–</text>'
    style = "alarm" if value >= alarms else "share"
    return (
        f'<rect class="track" x="{x:.1f}" y="{y + 4}" width="{width:.1f}" height="9"/>'
        f'<rect class="{style}" x="{x:.1f}" y="{y + 4}" width="{width * min(value, 1.0):.1f}" height="9"/>'
        f'<text class="tick{" alarm" * (value >= alarms)}" x="{x + width + 5:.1f}" y="{y + 12}">{percent(value)}</text>'
    )
