"""What went on inside a training, from its record: gradient flow, size of the updates, activations, attention, time."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup, escape

from firstfault.charts.axes import fit
from firstfault.charts.curves import Mark, band_chart
from firstfault.charts.heat import cells, legend, shading
from firstfault.output.numbers import duration, percent
from firstfault.report.charts.safety_curve import safety_curve

WIDTH, LEFT, RIGHT, TOP = 540, 176, 14, 34
ROW, MOST_ROWS, MOST_COLUMNS = 17, 32, 48
MOST_ATTENTIONS, PER_LINE = 12, 4
LONGEST = 24
USUAL_UPDATES = (1e-4, 1e-1)
"""Sources: Karpathy 2019, A Recipe for Training Neural Networks; measured on healthy runs of this project."""
LARGE = 0.5
PHASES = (
    ("data", "loading"),
    ("forward", "forward"),
    ("backward", "backward"),
    ("optimizer", "optimizer"),
    ("other", "rest"),
)


def training_pictures(record: Any, sick: Collection[str] = (), marks: Sequence[Mark] = ()) -> list[Markup]:
    """The pictures of a record that has something to show; the names of modules in `sick` are coloured.

    Args:
        record: a `firstfault.probe.Record`, or None.
        sick: names of modules that a finding blames.
        marks: findings at a step, for the pictures over steps.
    """
    if record is None:
        return []
    drawn = (
        safety_curve(record.safety),
        gradient_flow(_in_order(record.parameters, record.in_optimizer), sick),
        update_bands(record.parameters, marks),
        activation_health(record.activations, sick),
        attention_patterns(record.attention, sick),
        time_shares(record.phases),
    )
    return [picture for picture in drawn if picture is not None]


def _in_order(parameters: Mapping[str, Any], order: Collection[str]) -> dict[str, Any]:
    """Parameters in the order of the model, which another part of a record keeps."""
    return {name: parameters[name] for name in dict.fromkeys([*order, *parameters]) if name in parameters}


# ---------------------------------------------------------------------- gradients and updates


def gradient_flow(parameters: Mapping[str, Any], sick: Collection[str] = ()) -> Markup | None:
    """The gradient of every layer on the sampled steps: the root mean square of its values, by its logarithm.

    A layer is a module with its own parameters; where there are more than 32, those of one part of the model are taken together.
    """
    layers = _layers(parameters)
    columns = _columns([{step for entry in entries for step in entry.gradient.steps} for entries in layers.values()])
    if not columns:
        return None
    rows = [[_gradient(entries, part) for part in columns] for entries in layers.values()]
    shades = shading([value for row in rows for value in row if value is not None], log=True)
    width = (WIDTH - LEFT - RIGHT) / len(columns)
    floor = TOP + ROW * len(rows)
    body = [
        _labels(layers, sick),
        cells(rows, shades, LEFT, TOP, width, ROW),
        _step_ticks(columns, width, floor),
        legend(shades, LEFT + 28, floor + 44, 110, extra=[("zero", "0"), ("bad", "not finite")]),
    ]
    about = f"Root mean square gradient of {len(rows)} layers on {sum(map(len, columns))} sampled steps, from 10^{shades.low:.0f} to 10^{shades.high:.0f}"
    return _svg("Gradient flow", "root mean square of the gradient, per layer", about, floor + 60, body)


def _layers(parameters: Mapping[str, Any]) -> dict[str, list[Any]]:
    owners = {name: name.rpartition(".")[0] or name for name in parameters}
    for depth in range(max((owner.count(".") + 1 for owner in owners.values()), default=1), 0, -1):
        layers: dict[str, list[Any]] = {}
        for name, owner in owners.items():
            layers.setdefault(".".join(owner.split(".")[:depth]), []).append(parameters[name])
        if len(layers) <= MOST_ROWS:
            return layers
    return dict(_some(list(layers.items())))


def _some(items: list[Any], most: int = MOST_ROWS) -> list[Any]:
    """At most so many of some items, evenly taken, the first and the last among them."""
    if len(items) <= most:
        return items
    return [items[place] for place in np.linspace(0, len(items) - 1, most).round().astype(int)]


def _columns(seen: Sequence[set[int]]) -> list[list[int]]:
    """The sampled steps as at most 48 columns; steps of several optimizers that were sampled in turn share one."""
    columns: list[list[int]] = []
    filled: set[int] = set()
    for step in sorted(set().union(*seen)):
        layers = {number for number, steps in enumerate(seen) if step in steps}
        if not columns or layers & filled:
            columns.append([])
            filled = set()
        columns[-1].append(step)
        filled |= layers
    parts = np.array_split(np.arange(len(columns)), min(len(columns), MOST_COLUMNS)) if columns else []
    return [[step for place in part for step in columns[place]] for part in parts]


def _gradient(entries: Sequence[Any], steps: Sequence[int]) -> float | None:
    """The largest root mean square gradient of a layer over some steps; NaN where one is not finite, None without one."""
    wanted = set(steps)
    squares: dict[int, float] = {}
    for entry in entries:
        for step, norm in zip(entry.gradient.steps, entry.gradient.values, strict=True):
            if step in wanted:
                squares[step] = squares.get(step, 0.0) + norm * norm
    if not squares:
        return None
    size = max(1, sum(entry.size for entry in entries))
    return math.sqrt(max(squares.values()) / size) if all(map(math.isfinite, squares.values())) else math.nan


def _step_ticks(columns: Sequence[Sequence[int]], width: float, floor: float) -> str:
    places = sorted({round(place) for place in np.linspace(0, len(columns) - 1, min(6, len(columns)))})
    ticks = "".join(
        f'<text class="tick" x="{LEFT + (place + 0.5) * width:.1f}" y="{floor + 16}" text-anchor="middle">{columns[place][0]}</text>'
        for place in places
    )
    return f'{ticks}<text class="tick" x="{(LEFT + WIDTH) / 2:.0f}" y="{floor + 33}" text-anchor="middle">sampled optimizer step</text>'


def update_bands(parameters: Mapping[str, Any], marks: Sequence[Mark] = ()) -> Markup | None:
    """How far a step moves the parameters: the 10th, 50th and 90th percentile of ‖Δw‖ / ‖w‖ over all of them.

    Parameters that are still 0, such as fresh biases, are left out: their ratio means nothing.
    """
    by_step: dict[int, list[float]] = {}
    for entry in parameters.values():
        for step, ratio, size in zip(entry.update.steps, entry.update.values, entry.weight.values, strict=False):
            if size > 1e-6 and math.isfinite(ratio):
                by_step.setdefault(step, []).append(ratio)
    if not by_step:
        return None
    steps = sorted(by_step)
    low, middle, high = (
        list(map(float, line)) for line in np.array([np.percentile(by_step[step], (10, 50, 90)) for step in steps]).T
    )
    return band_chart(
        "Size of the updates ‖Δw‖ / ‖w‖",
        steps,
        low,
        middle,
        high,
        x_label="sampled optimizer step; median and 10–90 % of the parameters",
        usual=USUAL_UPDATES,
        marks=marks,
    )


# ---------------------------------------------------------------------- activations and attention


def activation_health(activations: Mapping[str, Any], sick: Collection[str] = ()) -> Markup | None:
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
    about = f"Last outputs of {len(shown)} modules; most values beyond ±5: {worst[0]}, {percent(_known(worst[1].beyond.values[-1]))}"
    body = [heads, _labels(shown, sick, TOP + 18, kinds={name: entry.kind for name, entry in shown.items()}), bars]
    note = (
        "share of the outputs of each module"
        if len(shown) == len(seen)
        else f"the {len(shown)} most striking of {len(seen)} modules"
    )
    return _svg("Activations at the end", note, about, TOP + 22 + ROW * len(shown), body)


def _notable(activations: Mapping[str, Any]) -> dict[str, Any]:
    """At most 32 modules in their order: those that are not finite, have most values beyond ±5 or dead units, or only zeros."""
    ranked = set(sorted(activations, key=lambda name: _strikes(activations[name]), reverse=True)[:MOST_ROWS])
    return {name: entry for name, entry in activations.items() if name in ranked}


def _strikes(entry: Any) -> tuple[bool, float, bool]:
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


def attention_patterns(attention: Mapping[str, Any], sick: Collection[str] = ()) -> Markup | None:
    """The last attention weights that were seen, of the first sample: queries down, keys across, the mean over heads."""
    shown = [(name, entry) for name, entry in attention.items() if entry.pattern]
    shown = _some(shown, MOST_ATTENTIONS)
    if not shown:
        return None
    gap = 14
    size = (WIDTH - gap * (PER_LINE - 1)) / PER_LINE
    drawn = []
    for number, (name, entry) in enumerate(shown):
        x, y = number % PER_LINE * (size + gap), TOP + 12 + number // PER_LINE * (size + 44)
        drawn.append(_pattern(entry.pattern, x, y + 22, size) + _label(name, x, y, name in sick, most=17))
        drawn.append(
            f'<text class="tick" x="{x:.1f}" y="{y + 15:.1f}">entropy {entry.entropy.values[-1]:.2f}</text>'
            if len(entry.entropy)
            else ""
        )
    lines = math.ceil(len(shown) / PER_LINE)
    about = f"Attention weights of {len(shown)} modules: " + ", ".join(name for name, _ in shown)
    return _svg(
        "Attention", "queries down, keys across; entropy 1 is even attention", about, TOP + lines * (size + 44), drawn
    )


def _pattern(pattern: Sequence[Sequence[float]], x: float, y: float, size: float) -> str:
    high = max((value for row in pattern for value in row if math.isfinite(value)), default=1.0)
    rows: list[list[float | None]] = [[None if value == 0 else value for value in row] for row in pattern]
    cell = size / max(len(pattern), max(map(len, pattern)))
    frame = f'<rect class="frame" x="{x:.1f}" y="{y:.1f}" width="{cell * max(map(len, pattern)):.1f}" height="{cell * len(pattern):.1f}"/>'
    return cells(rows, shading([0.0, high]), x, y, cell, cell) + frame


# ---------------------------------------------------------------------- time


def time_shares(phases: Mapping[str, float]) -> Markup | None:
    """Where the time of the loop went, as one bar."""
    whole = sum(phases.values())
    if whole <= 0:
        return None
    across = fit([0.0, whole], 0.0, float(WIDTH), pad=0.0)
    x, bars, words = 0.0, [], []
    for number, (key, name) in enumerate(PHASES):
        if not phases.get(key):
            continue
        width = across(phases[key])
        bars.append(
            f'<rect class="p{number}" x="{x:.1f}" y="{TOP + 4}" width="{max(width - 1.5, 0.5):.1f}" height="18"><title>{name}</title></rect>'
        )
        words.append((number, f"{name} {percent(phases[key] / whole)}"))
        x += width
    names = "".join(
        f'<rect class="p{number}" x="{place:.1f}" y="{TOP + 36}" width="9" height="9"/><text class="tick" x="{place + 14:.1f}" y="{TOP + 45}">{text}</text>'
        for place, (number, text) in zip(_places([text for _, text in words]), words, strict=True)
    )
    about = ", ".join(text for _, text in words)
    return _svg("Time of the loop", f"{duration(whole)} under the probe", about, TOP + 52, [*bars, names])


def _places(texts: Sequence[str]) -> Iterator[float]:
    place = 0.0
    for text in texts:
        yield place
        place += 26 + 6.9 * len(text)


# ---------------------------------------------------------------------- parts


def _labels(
    names: Mapping[str, Any], sick: Collection[str], top: float = TOP, kinds: Mapping[str, str] | None = None
) -> str:
    return "".join(
        _label(
            name, LEFT - 8, top + ROW * number + 12, _blamed(name, sick), anchor="end", note=(kinds or {}).get(name, "")
        )
        for number, name in enumerate(names)
    )


def _blamed(name: str, sick: Collection[str]) -> bool:
    """Whether a module, or a part that is shown as one with others, is blamed."""
    return name in sick or any(other.startswith(f"{name}.") for other in sick)


def _label(
    name: str, x: float, y: float, bad: bool, *, anchor: str = "start", note: str = "", most: int = LONGEST
) -> str:
    room = most - (len(note) + 1 if note and len(note) < most - 6 else 0)
    text = _ending(name, room)
    kind = f' <tspan class="kind">{escape(note)}</tspan>' if note and len(note) < most - 6 else ""
    style = "label sick" if bad else "label"
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}{kind}<title>{escape(name)}</title></text>'


def _ending(name: str, most: int) -> str:
    """The last parts of a dotted name that fit."""
    if len(name) <= most:
        return name
    parts = name.split(".")
    endings = (".".join(parts[first:]) for first in range(1, len(parts)))
    return f"…{next((ending for ending in endings if len(ending) < most), name[1 - most :])}"


def _svg(title: str, note: str, about: str, height: float, body: Sequence[str]) -> Markup:
    return Markup(
        f'<svg class="chart inside-view" viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}: {escape(about)}">'
        f'<text class="title" x="0" y="15">{escape(title)}</text><text class="tick" x="{WIDTH}" y="15" text-anchor="end">{escape(note)}</text>'
        f"{''.join(body)}</svg>"
    )
