"""Marks of scale: a column that is the control's again once it is turned back by one factor."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from firstfault.checks.data._column_marks import FEWEST, Column, Mark, is_number
from firstfault.metrics import Array
from firstfault.subject.replays import Row, distance

FACTOR = 1.45
"""Scales that differ by less are a drift."""


FITS = 0.5
"""How much of the distance of a column a change of unit must take away."""


UNITS = (10.0, 12.0, 24.0, 60.0, 100.0, 365.25, 1000.0, 3600.0, 1e6, 2.20462, 1.60934, 2.54, 0.3048, 28.3495, 4.184)
"""Powers of ten, units of time, and pounds, miles, inches, feet, ounces and calories in metric ones."""


SCALES = ((1.8, 32.0), (1 / 1.8, -32 / 1.8), (1.0, 273.15), (1.0, -273.15), (-1.0, 0.0))
"""Scale and shift of degrees Fahrenheit, Celsius and Kelvin in each other, and the other sign."""


def new_unit(column: Column) -> Mark | None:
    """Values that are the control's again once they are divided by one factor, or turned from one scale to another."""
    before, after = column.numbers(column.before), column.numbers(column.after)
    if len(before) < FEWEST or len(after) < FEWEST or len(np.unique(before)) < 5:
        return None
    apart = distance(before, after)
    if apart < max(0.15, _noise(len(before), len(after))):
        return None
    for whole in (after, _outliers(before, after)):
        found = _factor(before, whole) if len(whole) >= FEWEST // 2 else None
        if found is None:
            continue
        scale, shift, left = found
        partial = len(whole) < len(after)
        limits = (float(whole.min()), float(whole.max()))

        def turned(value: Any, scale: float = scale, shift: float = shift, limits: Any = limits) -> Any:
            return (value - shift) / scale if is_number(value) and limits[0] <= value <= limits[1] else value

        def undo(row: Row, generator: np.random.Generator, turned: Any = turned) -> Row:
            return {**row, column.name: turned(row[column.name])} if column.name in row else row

        share = len(whole) / len(after)
        words = f"{scale:.4g} times" + (f" and {shift:+.4g}" if shift else "")
        of = f"in {share:.0%} of the requests " if partial else ""
        message = (
            f"{column.name} is {words} what it was {of}(median {np.median(whole):.4g}, {np.median(before):.4g} in the "
            f"control): turned back, its distance from the control falls from {apart:.2f} to {left:.2f}"
        )
        return Mark(column.name, {"unit_change": 0.8}, message, scale, undo)
    return None


def _outliers(before: Array, after: Array) -> Array:
    low, high = float(before.min()), float(before.max())
    return after[(after < low) | (after > high)]


def _noise(first: int, second: int) -> float:
    """The distance that two samples of these sizes have by chance once in a hundred."""
    return 1.63 * math.sqrt((first + second) / (first * second))


def _factor(before: Array, after: Array) -> tuple[float, float, float] | None:
    """The scale and the shift that turn the control's values to these, and the distance that is left; None for none."""
    noise = _noise(len(before), len(after))
    apart = distance(before, after)
    best: tuple[float, float, float] | None = None
    for (scale, shift), allowed in _candidates(before, after, noise).items():
        left = distance(before, (after - shift) / scale)
        if left <= min(allowed, FITS * apart) and (best is None or left < best[2] - 1e-9):
            best = (scale, shift, left)
    return best


def _candidates(before: Array, after: Array, noise: float) -> dict[tuple[float, float], float]:
    """Scales and shifts, and the distance that each may leave: what is no known unit has to fit by itself."""
    middle, spread = _ratio(float(np.median(after)), float(np.median(before))), _ratio(_range(after), _range(before))
    ratios = [ratio for ratio in (middle, spread) if ratio is not None and ratio > 0 and not _near(ratio)]
    known = [unit for each in UNITS for unit in (each, 1 / each)]
    close = [unit for unit in known for ratio in ratios if abs(math.log(unit / ratio)) < 0.15]
    found = dict.fromkeys(((ratio, 0.0) for ratio in ratios), noise)
    return found | dict.fromkeys((*SCALES, *((unit, 0.0) for unit in close)), max(0.1, 1.2 * noise))


def _near(ratio: float) -> bool:
    return 1 / FACTOR < ratio < FACTOR


def _range(values: Array) -> float:
    return float(np.quantile(values, 0.75) - np.quantile(values, 0.25))


def _ratio(after: float, before: float) -> float | None:
    return float(after / before) if abs(before) > 1e-12 and abs(after) > 1e-12 else None
