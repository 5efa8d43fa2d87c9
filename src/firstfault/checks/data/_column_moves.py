"""Marks of values that never came before, and of columns that moved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from firstfault.checks.data._column_marks import (
    FEWEST,
    MOST_CATEGORIES,
    OFTEN,
    RARE,
    Column,
    Mark,
    drawn,
    plain_value,
    present,
)
from firstfault.metrics import Array
from firstfault.subject.likeness import distance
from firstfault.subject.raw_rows import Row
from firstfault.values import is_finite

STAYS, AS_OFTEN = 0.1, 2.0
"""A category stays away that comes a tenth as often; another takes its place that comes half to twice as often."""
MOVED_P = 1e-3
"""The level at which a column has moved, divided by the number of columns."""


def new_category(column: Column) -> Mark | None:
    """Texts that neither the control nor the training has."""
    before = [value for value in column.before if isinstance(value, str)]
    after = [value for value in column.after if isinstance(value, str)]
    known = {value for value in (*before, *column.known) if isinstance(value, str)}
    if len(before) < FEWEST or len(after) < FEWEST or len(set(before)) > MOST_CATEGORIES:
        return None
    if len(set(before)) > 0.5 * len(before):
        return None
    new = Counter(value for value in after if value not in known)
    share = sum(new.values()) / len(column.after)
    if share < RARE:
        return None
    gone = _gone(before, after)
    twins = {value: near for value in new if (near := _twin(value, known) or _renamed(value, new, gone, column))}
    certain = sum(new[value] for value in twins) > 0.5 * sum(new.values())

    def undo(row: Row, generator: np.random.Generator) -> Row:
        value = row.get(column.name)
        if value not in new:
            return row
        return {**row, column.name: twins[value] if value in twins else column.draw(generator)}

    first = new.most_common(1)[0][0]
    told = f", which stands for {twins[first]!r}" if first in twins else ""
    message = (
        f"{column.name} is {first!r}{told} in {new[first] / len(column.after):.0%} of the requests, and never before"
    )
    return Mark(column.name, {"unseen_category": 0.8}, message, share, undo, certain=certain)


def _twin(value: str, known: set[str]) -> str | None:
    """The known category that a new one is another spelling of."""
    plain = _spelt(value)
    return next((each for each in sorted(known) if _spelt(each) == plain and plain), None)


def _gone(before: Sequence[str], after: Sequence[str]) -> dict[str, float]:
    """The categories that stay away, and the shares that they had."""
    now, counts = Counter(after), Counter(before)
    shares = {name: n / len(before) for name, n in counts.items()}
    return {name: share for name, share in shares.items() if share >= OFTEN and now[name] < STAYS * share * len(after)}


def _renamed(value: str, new: Counter[str], gone: Mapping[str, float], column: Column) -> str | None:
    """The category in whose place a new one comes: it stays away, and came as often; of several, the likest name."""
    share = new[value] / len(column.after)
    alike = [name for name, was in gone.items() if was / AS_OFTEN <= share <= was * AS_OFTEN]
    return max(alike, key=lambda name: _shared(_spelt(name), _spelt(value)), default=None)


def _shared(first: str, second: str) -> int:
    """How many letters two names begin with alike."""
    return next((at for at, (one, two) in enumerate(zip(first, second, strict=False)) if one != two), len(first))


def _spelt(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter.isalnum())


def beyond(column: Column) -> Mark | None:
    """Numbers beyond all that the control and the training have."""
    before, after = column.numbers([*column.before, *column.known]), column.numbers(column.after)
    if len(before) < FEWEST or len(after) < FEWEST:
        return None
    reach = 0.25 * max(float(before.max() - before.min()), 1e-12)
    low, high = float(before.min()) - reach, float(before.max()) + reach
    share = float(np.mean((after < low) | (after > high)))
    if share < RARE:
        return None
    message = (
        f"{column.name} lies outside of {before.min():.4g} to {before.max():.4g}, where it always was, in {share:.0%} "
        "of the requests"
    )

    def outside(value: Any) -> bool:
        return is_finite(value) and not low <= value <= high

    return Mark(column.name, {"out_of_range": 0.8}, message, share, drawn(column, outside))


def moved(column: Column) -> Mark | None:
    """A column whose distribution is another."""
    before, after = column.numbers(column.before), column.numbers(column.after)
    if len(before) >= FEWEST and len(after) >= FEWEST:
        return _moved_numbers(column, before, after)
    return _moved_categories(column)


def _moved_numbers(column: Column, before: Array, after: Array) -> Mark | None:
    from scipy.stats import ks_2samp

    found = ks_2samp(before, after)
    usual = [distance(before, own) for chunk in column.chunks() if len(own := column.numbers(chunk)) >= FEWEST]
    if found.pvalue > MOVED_P / column.several or found.statistic <= max(usual, default=0.0):
        return None
    spread = max(float(before.std()), 1e-12)
    order, place = np.sort(after), np.sort(before)

    def undo(row: Row, generator: np.random.Generator) -> Row:
        value: Any = row.get(column.name)
        if not is_finite(value):
            return row
        rank = (np.searchsorted(order, value, "left") + np.searchsorted(order, value, "right")) / 2 / len(order)
        return {**row, column.name: float(np.quantile(place, min(max(rank, 0.0), 1.0)))}

    message = (
        f"{column.name} moved by {(after.mean() - before.mean()) / spread:+.2f} deviations of the control (Kolmogorov "
        f"and Smirnov {found.statistic:.2f}, p = {found.pvalue:.1g})"
    )
    return Mark(column.name, {"covariate_drift": 0.6}, message, float(found.statistic), undo, certain=False)


def _moved_categories(column: Column) -> Mark | None:
    from scipy.stats import chi2_contingency

    before = Counter(str(plain_value(value)) for value in present(column.before))
    after = Counter(str(plain_value(value)) for value in present(column.after))
    names = sorted({*before, *after})
    if len(names) < 2 or len(names) > MOST_CATEGORIES or not before or not after:
        return None
    p = float(chi2_contingency([[before[name] for name in names], [after[name] for name in names]]).pvalue)
    apart = 0.5 * sum(abs(before[name] / before.total() - after[name] / after.total()) for name in names)
    if p > MOVED_P / column.several or apart < OFTEN:
        return None
    message = f"the shares of {column.name}'s values moved by {apart:.0%} (p = {p:.1g})"
    return Mark(column.name, {"covariate_drift": 0.6}, message, apart, drawn(column), certain=False)
