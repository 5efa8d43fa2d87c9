"""Whether two answers to one request say the same: a challenger's numbers are not the champion's to the last digit."""

from __future__ import annotations

import math
from typing import Any

from firstfault.monitor.confidence import SEVERAL, SINGLE, SUMS_TO_ONE
from firstfault.monitor.dialects import NOTHING, read
from firstfault.monitor.record import Captured
from firstfault.values import is_number

RELATIVE = 1e-3
"""Numbers that are nearer are the same: what float32 and another order of sums make of one model."""


def agree(champion: Captured, challenger: Captured) -> bool:
    """Whether both ended alike, and what they answered is the same; how sure they are of it may differ."""
    if (champion.status >= 400) != (challenger.status >= 400):
        return False
    ours, theirs = read(champion).outputs, read(challenger).outputs
    if ours is NOTHING or theirs is NOTHING:
        return (champion.response_bytes, champion.response) == (challenger.response_bytes, challenger.response)
    return same(ours, theirs)


def same(a: Any, b: Any) -> bool:
    """Whether two plain values are the same answer."""
    if isinstance(a, dict) and isinstance(b, dict):
        names = (a.keys() | b.keys()) - {*SINGLE, *SEVERAL}
        return all(name in a and name in b and same(a[name], b[name]) for name in names)
    if isinstance(a, list) and isinstance(b, list):
        if len(a) != len(b):
            return False
        if _is_distribution(a) and _is_distribution(b):
            return a.index(max(a)) == b.index(max(b))
        return all(map(same, a, b))
    if is_number(a) and is_number(b):
        return math.isclose(a, b, rel_tol=RELATIVE, abs_tol=RELATIVE**2)
    return bool(a == b)


def _is_distribution(values: list[Any]) -> bool:
    """Probabilities of classes: the same class is the same answer."""
    return (
        len(values) > 1
        and all(is_number(value) and value >= 0 for value in values)
        and abs(math.fsum(values) - 1) < SUMS_TO_ONE
    )
