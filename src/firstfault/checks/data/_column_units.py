"""Marks of scale: a column that is the control's again once it is turned back by one factor."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from firstfault.checks.data._column_marks import FEWEST, OFTEN, RARE, Column, Mark, Undo
from firstfault.metrics import Array
from firstfault.subject.likeness import distance
from firstfault.subject.raw_rows import Row
from firstfault.values import is_finite

FACTOR = 1.45
"""Scales that differ by less are a drift."""


FITS = 0.5
"""How much of the distance of a column a change of unit must take away."""


UNITS = (10.0, 12.0, 24.0, 60.0, 100.0, 365.25, 1000.0, 3600.0, 1e6, 2.20462, 1.60934, 2.54, 0.3048, 28.3495, 4.184)
"""Powers of ten, units of time, and pounds, miles, inches, feet, ounces and calories in metric ones."""


SCALES = ((1.8, 32.0), (1 / 1.8, -32 / 1.8), (1.0, 273.15), (1.0, -273.15), (-1.0, 0.0))
"""Scale and shift of degrees Fahrenheit, Celsius and Kelvin in each other, and the other sign."""


ROUNDED = 0.002
"""Of a deviation: four decimals of a value that was multiplied change less."""


FAR, MIXED, CLEARLY = 10.0, 0.2, 0.25
"""A part of the values is told from the others where its unit is ten times another, it is a fifth, and takes away three
quarters of the distance: less far apart, a mixture looks like any drift."""


def new_unit(column: Column) -> Mark | None:
    """Values that are the control's again once they are divided by one factor, or turned from one scale to another."""
    before, after = column.numbers(column.before), column.numbers(column.after)
    if len(before) < FEWEST or len(after) < FEWEST or len(np.unique(before)) < 5:
        return None
    apart = distance(before, after)
    if apart < max(0.15, _noise(len(before), len(after))):
        return None
    for chosen in (np.ones(len(after), dtype=bool), _strangers(column, after), _outliers(before, after)):
        enough = chosen.mean() >= OFTEN and chosen.sum() >= FEWEST // 2
        found = _factor(before, after[chosen], unknown=bool(chosen.all())) if enough else None
        if found is not None:
            return _mark(column, before, after[chosen], found)
    return _in_some(column, before, after)


def _mark(column: Column, before: Array, scaled: Array, found: tuple[float, float, float]) -> Mark:
    """The mark of those values that came in another unit; `found` is the scale, the shift, and the distance left."""
    scale, shift, left = found
    values = frozenset(scaled.tolist())

    def undo(row: Row, generator: np.random.Generator) -> Row:
        value: Any = row.get(column.name)
        return {**row, column.name: (value - shift) / scale} if is_finite(value) and value in values else row

    share = len(scaled) / len(column.numbers(column.after))
    words = f"{scale:.4g} times" + (f" and {shift:+.4g}" if shift else "")
    of = f"in {share:.0%} of the requests " if share < 1 else ""
    message = (
        f"{column.name} is {words} what it was {of}(median {np.median(scaled):.4g}, {np.median(before):.4g} in the "
        f"control): turned back, its distance from the control falls from {distance(before, scaled):.2f} to {left:.2f}"
    )
    return Mark(column.name, {"unit_change": 0.8}, message, scale, undo)


def _in_some(column: Column, before: Array, after: Array) -> Mark | None:
    """Values of which a part, within the range of all, is far smaller: as a mixture of both units has them.

    With F the control's distribution, s the scale and p the share, after ~ (1 − p) F(x) + p F(x / s).
    """
    order = np.sort(before)
    values = np.sort(after)
    now, usual = np.arange(1, len(values) + 1) / len(values), _below(order, values)
    apart, noise = float(np.abs(now - usual).max()), _noise(len(before), len(after))
    for scale in (1 / unit for unit in UNITS if unit >= FAR):
        apart_by_scale = _below(order, values / scale) - usual
        share = float((now - usual) @ apart_by_scale / max(float(apart_by_scale @ apart_by_scale), 1e-12))
        left = float(np.abs(now - usual - share * apart_by_scale).max())
        if MIXED <= share <= 1 and left <= min(noise, CLEARLY * apart):
            message = (
                f"{column.name} is {scale:.4g} times what it was in {share:.0%} of the requests: so mixed with what it "
                f"was, its distance from what came falls from {apart:.2f} to {left:.2f}"
            )
            undo = _turned_where_likely(column.name, before, scale, share)
            return Mark(column.name, {"unit_change": 0.8}, message, scale, undo)
    return None


def _below(order: Array, values: Array) -> Array:
    """The share of sorted numbers that are not above each value."""
    return np.asarray(np.searchsorted(order, values, side="right") / len(order))


def _turned_where_likely(name: str, before: Array, scale: float, share: float) -> Undo:
    """Turn each value back with the probability that it is in the other unit, by the control's density."""
    from scipy.stats import gaussian_kde

    density = gaussian_kde(before)

    def undo(row: Row, generator: np.random.Generator) -> Row:
        value: Any = row.get(name)
        if not is_finite(value):
            return row
        other = share * float(density(value / scale)[0]) / scale
        usual = (1 - share) * float(density(value)[0])
        return {**row, name: value / scale} if generator.random() * (other + usual) < other else row

    return undo


def _outliers(before: Array, after: Array) -> Array:
    """Which values lie beyond all of the control."""
    return np.asarray((after < before.min()) | (after > before.max()))


def _strangers(column: Column, after: Array) -> Array:
    """Which values never came, in a column of values that come again and again, as whole numbers do."""
    before = column.numbers(column.before)
    half = len(before) // 2
    known = np.concatenate([before[:half], column.numbers(column.known)])
    closed = np.isin(before[half:], known).mean() >= 1 - RARE
    known = np.concatenate([known, before])
    return np.asarray(~np.isin(after, known)) if closed else np.zeros(len(after), dtype=bool)


def _noise(first: int, second: int) -> float:
    """The distance that two samples of these sizes have by chance once in a hundred."""
    return 1.63 * math.sqrt((first + second) / (first * second))


def _factor(before: Array, after: Array, *, unknown: bool) -> tuple[float, float, float] | None:
    """The scale and the shift that turn the control's values to these, and the distance that is left; None for none.

    A scale of no known unit counts where it is `unknown` alone: what is far out has some ratio to the rest, too.
    """
    noise = _noise(len(before), len(after))
    apart = distance(before, after)
    best: tuple[float, float, float] | None = None
    for (scale, shift), allowed in _candidates(before, after, noise if unknown else 0.0).items():
        left = distance(before, _snapped((after - shift) / scale, before))
        if left <= min(allowed, FITS * apart) and (best is None or left < best[2] - 1e-9):
            best = (scale, shift, left)
    return best


def _snapped(values: Array, to: Array) -> Array:
    """Values, of which those that are another one but for rounding become that."""
    order = np.sort(to)
    right = np.clip(np.searchsorted(order, values), 1, len(order) - 1)
    near = np.where(values - order[right - 1] < order[right] - values, order[right - 1], order[right])
    return np.where(np.abs(near - values) <= ROUNDED * max(float(to.std()), 1e-12), near, values)


def _candidates(before: Array, after: Array, noise: float) -> dict[tuple[float, float], float]:
    """Scales and shifts, and the distance that each may leave: what is no known unit has to fit by itself."""
    middle, spread = _ratio(float(np.median(after)), float(np.median(before))), _ratio(_range(after), _range(before))
    ratios = [ratio for ratio in (middle, spread) if ratio is not None and ratio > 0 and not _near(ratio)]
    known = [unit for each in UNITS for unit in (each, 1 / each)]
    close = [unit for unit in known for ratio in ratios if abs(math.log(unit / ratio)) < 0.15]
    found = dict.fromkeys(((ratio, 0.0) for ratio in ratios), noise)
    allowed = max(0.1, 1.2 * _noise(len(before), len(after)))
    return found | dict.fromkeys((*SCALES, *((unit, 0.0) for unit in close)), allowed)


def _near(ratio: float) -> bool:
    return 1 / FACTOR < ratio < FACTOR


def _range(values: Array) -> float:
    return float(np.quantile(values, 0.75) - np.quantile(values, 0.25))


def _ratio(after: float, before: float) -> float | None:
    return float(after / before) if abs(before) > 1e-12 and abs(after) > 1e-12 else None
