"""Gradients and updates over the steps of a training, by layer."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from firstfault.charts.curves import Mark, band_chart
from firstfault.charts.heat import cells, legend, shading
from firstfault.charts.svg import words
from firstfault.report.charts.module_rows import (
    LEFT,
    MOST_ROWS,
    RIGHT,
    ROW,
    TOP,
    WIDTH,
    inside_picture,
    labels,
    some_of,
)

if TYPE_CHECKING:
    from firstfault.probe.record import Parameter


MOST_COLUMNS = 48
USUAL_UPDATES = (1e-4, 1e-1)
"""Sources: Karpathy 2019, A Recipe for Training Neural Networks; measured on healthy runs of this project."""


def gradient_flow(parameters: Mapping[str, Parameter], sick: Collection[str] = ()) -> Markup | None:
    """The gradient of every layer on the sampled steps: the root mean square of its values, by its logarithm.

    A layer is a module with its own parameters; where there are more than 32, those of one part of the model are taken
    together.
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
        labels(layers, sick),
        cells(rows, shades, LEFT, TOP, width, ROW),
        _step_ticks(columns, width, floor),
        legend(shades, LEFT + 28, floor + 44, 110, extra=[("zero", "0"), ("bad", "not finite")]),
    ]
    about = (
        f"Root mean square gradient of {len(rows)} layers on {sum(map(len, columns))} sampled steps, "
        f"from 10^{shades.low:.0f} to 10^{shades.high:.0f}"
    )
    return inside_picture("Gradient flow", "root mean square of the gradient, per layer", about, floor + 60, body)


def _layers(parameters: Mapping[str, Parameter]) -> dict[str, list[Parameter]]:
    owners = {name: name.rpartition(".")[0] or name for name in parameters}
    for depth in range(max((owner.count(".") + 1 for owner in owners.values()), default=1), 0, -1):
        layers: dict[str, list[Parameter]] = {}
        for name, owner in owners.items():
            layers.setdefault(".".join(owner.split(".")[:depth]), []).append(parameters[name])
        if len(layers) <= MOST_ROWS:
            return layers
    return dict(some_of(list(layers.items())))


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


def _gradient(entries: Sequence[Parameter], steps: Sequence[int]) -> float | None:
    """The largest root mean square gradient of a layer over some steps.

    It is NaN where one is not finite, and None without one.
    """
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
        words(str(columns[place][0]), LEFT + (place + 0.5) * width, floor + 16, anchor="middle") for place in places
    )
    return ticks + words("sampled optimizer step", (LEFT + WIDTH) / 2, floor + 33, anchor="middle")


def update_bands(parameters: Mapping[str, Parameter], marks: Sequence[Mark] = ()) -> Markup | None:
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
