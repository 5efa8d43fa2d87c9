"""Where the time of a training loop went."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from markupsafe import Markup

from firstfault.charts.axes import fit
from firstfault.charts.svg import words
from firstfault.output.numbers import duration, percent
from firstfault.report.charts.module_rows import TOP, WIDTH, inside_picture

PHASES = (
    ("data", "loading"),
    ("forward", "forward"),
    ("backward", "backward"),
    ("optimizer", "optimizer"),
    ("other", "rest"),
)


def time_shares(phases: Mapping[str, float]) -> Markup | None:
    """Where the time of the loop went, as one bar."""
    whole = sum(phases.values())
    if whole <= 0:
        return None
    across = fit([0.0, whole], 0.0, float(WIDTH), pad=0.0)
    x, bars, told = 0.0, [], []
    for number, (key, name) in enumerate(PHASES):
        if not phases.get(key):
            continue
        width = across(phases[key])
        bars.append(
            f'<rect class="p{number}" x="{x:.1f}" y="{TOP + 4}" width="{max(width - 1.5, 0.5):.1f}" height="18">'
            f"<title>{name}</title></rect>"
        )
        told.append((number, f"{name} {percent(phases[key] / whole)}"))
        x += width
    names = "".join(
        f'<rect class="p{number}" x="{place:.1f}" y="{TOP + 36}" width="9" height="9"/>'
        + words(text, place + 14, TOP + 45)
        for place, (number, text) in zip(_places([text for _, text in told]), told, strict=True)
    )
    about = ", ".join(text for _, text in told)
    return inside_picture("Time of the loop", f"{duration(whole)} under the probe", about, TOP + 52, [*bars, names])


def _places(texts: Sequence[str]) -> Iterator[float]:
    place = 0.0
    for text in texts:
        yield place
        place += 26 + 6.9 * len(text)
