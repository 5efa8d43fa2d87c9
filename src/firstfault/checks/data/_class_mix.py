"""Whether columns moved only because the classes come in other shares: within each class they are as they were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from firstfault.subject.incident import Requests, incident
from firstfault.subject.likeness import distance
from firstfault.subject.raw_rows import rows_of
from firstfault.subject.subject import Subject

FEWEST = 25
"""Labelled rows of a class on each side, below which its distribution is not compared."""
SHARES_P = 1e-4
"""Shares of classes that moved by chance once in 10,000 times explain nothing."""
GONE = 0.6
"""How much of a column's distance must be gone once classes are compared with themselves."""


def by_classes(subject: Subject, columns: Sequence[str]) -> str | None:
    """A sentence with the shares of the classes, where these explain the move; None where they don't."""
    seen = incident(subject)
    before, now = _labelled(seen.control), _labelled(seen.requests)
    first, second = Counter(label for _, label in before), Counter(label for _, label in now)
    names = [name for name in first if min(first[name], second[name]) >= FEWEST]
    if len(names) < 2 or len(first) > 20 or _p(first, second) > SHARES_P:
        return None
    left, moved = 0.0, 0.0
    for column in columns:
        moved += _apart([row for row, _ in before], [row for row, _ in now], column)
        within = [
            _apart(
                [row for row, label in before if label == name], [row for row, label in now if label == name], column
            )
            for name in names
        ]
        left += float(np.mean(within))
    if left > (1 - GONE) * moved:
        return None
    shares = [f"{name} {first[name] / first.total():.0%} → {second[name] / second.total():.0%}" for name in names[:4]]
    return ", ".join(shares)


def _labelled(requests: Requests) -> list[tuple[dict[str, Any], str]]:
    found = []
    for raw, label in zip(requests.fair.values("raw"), requests.fair.values("truth"), strict=True):
        rows = rows_of([raw]) if label is not None and not isinstance(label, float) else []
        found += [(row, str(label)) for row in rows]
    return found


def _p(first: Counter[str], second: Counter[str]) -> float:
    from scipy.stats import chi2_contingency

    names = sorted({*first, *second})
    return float(chi2_contingency([[first[name] for name in names], [second[name] for name in names]]).pvalue)


def _apart(before: Sequence[dict[str, Any]], now: Sequence[dict[str, Any]], column: str) -> float:
    """The distance of a column beyond that of two samples of the same, 0–1."""
    one, other = ([row[column] for row in rows if row.get(column) is not None] for rows in (before, now))
    if not one or not other:
        return 0.0
    chance = 0.87 * np.sqrt((len(one) + len(other)) / (len(one) * len(other)))
    if all(isinstance(value, int | float) for value in (*one, *other)):
        return max(0.0, distance(np.array(one, float), np.array(other, float)) - chance)
    first, second = Counter(map(str, one)), Counter(map(str, other))
    apart = 0.5 * sum(abs(first[name] / len(one) - second[name] / len(other)) for name in {*first, *second})
    return float(max(0.0, apart - chance))
