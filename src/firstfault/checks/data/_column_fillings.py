"""Marks of values that stand in for others: defaults, codes, values held too long, the model's own answers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
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
    share_of,
)
from firstfault.metrics import Array
from firstfault.values import is_finite

FEW = 0.1
"""Distinct values per row, of those that the control has, below which a column stands still."""


RUNS = 0.95
"""How many requests share a column's value with the one before them where it is held."""


FILLS = 0.25
"""By how much a usual value must become more frequent."""


MOST_HELD = 8
"""Values that a column of many can be held at, one after the other."""


WORDS = 4
"""Of a text: names of categories have fewer."""


DEFAULTS = frozenset({0, 1, -1, "", "unknown", "other", "none", "n/a", "na", "null", "default", "missing", "?"})


SENTINELS = frozenset({-1, -9, -99, -999, -9999, -99999, 99, 999, 9999, 99999, 999999, -1e6, 1e6, 1e9, -1e9})


def fed_back(column: Column) -> Mark | None:
    """A column that holds the model's own answers now."""
    if len(column.answers) < FEWEST:
        return None
    fed = share_of(column.after, lambda value: is_finite(value) and float(value) in column.answers)
    usual = share_of(column.before, lambda value: is_finite(value) and float(value) in column.answers)
    if fed < 0.3 or fed < usual + 0.25 or len(set(column.numbers(column.after).tolist())) < FEWEST:
        return None
    message = f"{column.name} is an answer that the model gave before in {fed:.0%} of the requests, {usual:.0%} before"
    return Mark(column.name, {"feedback_loop": 0.8}, message, fed, drawn(column))


def stands_still(column: Column) -> Mark | None:
    """A column of many values that has few now: the last values before something upstream stopped."""
    before, after = column.numbers(column.before), column.numbers(column.after)
    if len(before) < FEWEST or len(after) < FEWEST:
        return None
    usual = len(np.unique(before)) / len(before)
    now = len(np.unique(after)) / len(after)
    top, times = Counter(after.tolist()).most_common(1)[0]
    # few values that come in turn, or one that is no default
    held = len(set(after.tolist())) <= MOST_HELD < len(set(before.tolist())) / 2
    few = usual >= 0.3 and now <= FEW * usual
    if not (held or few) or _is_special(top, before) or times / len(after) < OFTEN:
        return None
    if top < before.min() or top > before.max():
        return None
    if any(
        len(set(map(plain_value, chunk))) <= max(MOST_HELD, 2 * len(set(after.tolist()))) for chunk in column.chunks()
    ):
        return None
    message = (
        f"{column.name} has {len(np.unique(after))} distinct values in {len(after)} requests, and "
        f"{len(np.unique(before))} in {len(before)} of the control"
    )
    return Mark(column.name, {"stale_feature": 0.8, "upstream_default": 0.2}, message, now, drawn(column))


def _is_special(value: Any, before: Array) -> bool:
    """Whether a value is one that programs put in where there is none: a default, a code, or the middle."""
    if value in DEFAULTS or value in SENTINELS:
        return True
    if not is_finite(value) or not len(before):
        return False
    middle = (float(np.mean(before)), float(np.median(before)))
    spread = max(float(before.std()), 1e-12)
    return any(abs(value - each) < 1e-3 * spread for each in middle)


def one_value(column: Column) -> Mark | None:
    """One value, or none, that is far more frequent than before: what is put in where there is no value."""
    before, after = present(column.before), present(column.after)
    if len(before) < FEWEST or len(after) < FEWEST:
        return None
    counts, was = Counter(map(plain_value, after)), Counter(map(plain_value, before))
    value, times = max(counts.items(), key=lambda item: item[1] / len(after) - was[item[0]] / len(before))
    now, then = times / len(after), was[value] / len(before)
    numbers = column.numbers(before)
    numeric = len(numbers) >= FEWEST
    # a category may become more frequent in sound traffic: it must then fill the column, or be no category at all
    rare = then <= RARE and now >= max(OFTEN, 5 * then)
    many = numeric and len(set(numbers.tolist())) > FEWEST
    stands_in = rare and (many or value is None or _lower(value) in DEFAULTS or _is_free_text(was))
    fills = not many and now >= 0.98 > then + 0.2
    if not (stands_in or fills) or any(_most_added(chunk, was) >= now - then - OFTEN for chunk in column.chunks()):
        return None
    outside = is_finite(value) and numeric and not float(numbers.min()) <= float(value) <= float(numbers.max())
    spread = float(numbers.max() - numbers.min()) if numeric else 0.0
    far = outside and (value < numbers.min() - 0.5 * spread or value > numbers.max() + 0.5 * spread)
    if value is None:
        faults = {"missing_values": 0.8, "upstream_default": 0.2}
    elif value not in (0, 1) and ((outside and value in SENTINELS) or far):
        faults = {"sentinel_value": 0.8, "upstream_default": 0.2}
    elif now > 0.9 and numeric and not _is_special(value, numbers):
        faults = {"stale_feature": 0.8, "upstream_default": 0.2}
    else:
        faults = {"upstream_default": 0.8, "stale_feature": 0.2}
    told = "nothing" if value is None else repr(value)
    message = f"{column.name} is {told} in {now:.0%} of the requests, and in {then:.1%} of the control"
    undo = drawn(column, lambda item: plain_value(item) == value)
    # everybody may be of one usual category in other traffic, which then is other in more than that
    return Mark(column.name, faults, message, now, undo, alone=not stands_in and then > RARE)


def in_runs(column: Column) -> Mark | None:
    """Requests in a row that share a value, where before each had its own: what was looked up last stays."""
    before, after = _same_as_last(column.before), _same_as_last(column.after)
    if after < RUNS or before > RUNS - 0.2 or any(_same_as_last(chunk) > RUNS - 0.1 for chunk in column.chunks()):
        return None
    message = (
        f"{after:.0%} of the requests have the {column.name} of the one before them, and {before:.0%} of the control"
    )
    return Mark(column.name, {"stale_feature": 0.8, "upstream_default": 0.2}, message, after, drawn(column))


def _same_as_last(values: Sequence[Any]) -> float:
    plain = [plain_value(value) for value in values]
    same = [one == two for one, two in zip(plain, plain[1:], strict=False)]
    return sum(same) / len(same) if same else 0.0


def filled(column: Column) -> Mark | None:
    """A usual value that stands in for others in equal measure: what is left of these is as it was."""
    before, after = [plain_value(v) for v in present(column.before)], [plain_value(v) for v in present(column.after)]
    if len(before) < FEWEST or len(after) < FEWEST:
        return None
    was, now = Counter(before), Counter(after)
    value = max(now, key=lambda each: now[each] / len(after) - was[each] / len(before))
    more = now[value] / len(after) - was[value] / len(before)
    rest = len(after) - now[value], len(before) - was[value]
    if more < FILLS or len(was) < 3 or min(rest) < FEWEST:
        return None
    names = {*was, *now} - {value}
    apart = 0.5 * sum(abs(now[each] / rest[0] - was[each] / rest[1]) for each in names)
    many = len(names) > MOST_CATEGORIES
    if many or apart > 0.08 + 0.8 * math.sqrt(len(names) / min(rest)):
        return None
    if any(
        Counter(map(plain_value, chunk))[value] / len(chunk) >= now[value] / len(after) - OFTEN
        for chunk in column.chunks()
    ):
        return None
    message = (
        f"{column.name} is {value!r} in {now[value] / len(after):.0%} of the requests, {was[value] / len(before):.0%} "
        "before, at the cost of all its other values alike"
    )
    faults = {"upstream_default": 0.8, "stale_feature": 0.2}
    return Mark(column.name, faults, message, more, drawn(column, lambda item: plain_value(item) == value), alone=True)


def _most_added(chunk: Sequence[Any], whole: Counter[Any]) -> float:
    """By how much the share of a value is higher in a part of the control than in all of it, at most."""
    own, total = Counter(map(plain_value, chunk)), whole.total()
    return max(times / len(chunk) - whole[value] / total for value, times in own.items())


def _is_free_text(values: Counter[Any]) -> bool:
    """Whether values are ids of their own, or sentences that people write: no categories."""
    texts = [value for value in values if value is not None]
    if not texts or not all(isinstance(value, str) for value in texts):
        return False
    return len(values) > 0.5 * values.total() or float(np.median([len(text.split()) for text in texts])) >= WORDS


def _lower(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value
