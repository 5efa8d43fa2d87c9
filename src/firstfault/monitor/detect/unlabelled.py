"""Whether labels come for a part of the requests alone: of one answer, version, arm, process or category come none.

What is known of the errors is then known of the others alone. A part is one that usually comes and that still does, so
that labels which are late say nothing of a version that has just begun.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from firstfault.monitor.detect.batch import Batch
from firstfault.monitor.detect.table import kind_of

FEWEST = 300
"""Labels, and requests: of a part with a tenth of them, 30 are expected, and none is no chance."""
HALF = 0.5
"""Of the labels that a part would get: with fewer, its errors are hardly known."""
BY_CHANCE = 1e-6
"""Dozens of parts are looked at every few seconds, mostly at the same labels."""
MOST_PARTS = 20
"""What has more values is no part of the requests."""


def parts_of(batch: Batch) -> dict[str, float]:
    """The share of each part; empty where there are too few requests."""
    found: dict[str, float] = {}
    for name, values in _columns(batch).items() if len(batch) >= FEWEST else ():
        counts = Counter(value for value in values if value is not None)
        if len(counts) <= MOST_PARTS:
            found |= {f"{name} {value}": n / len(batch) for value, n in counts.items()}
    return found


def _columns(batch: Batch) -> dict[str, list[str | None]]:
    records, rows = batch.records, batch.rows
    own: dict[str, list[str | None]] = {
        "answer": batch.classes,
        "version": [record.version for record in records],
        "arm": [str(record.arm) for record in records],
        "process": [record.raw.partition("/")[2].rpartition(":")[0] for record in records],
    }
    for column in batch.schema.categories:
        values = [row.get(column.name) for row in rows]
        own[column.name] = [str(value) if kind_of(value) in ("text", "truth") else None for value in values]
    return own


def unlabelled(usual: Mapping[str, float], now: Mapping[str, float], labels: Batch) -> list[str]:
    """A sentence for the part that lacks most labels, where one does.

    Args:
        usual: the share of each part in the reference.
        now: among the last requests.
        labels: the last requests whose labels have come.
    """
    from scipy.stats import binom

    found = parts_of(labels)
    lacking: dict[str, float] = {}
    for name, share in usual.items() if found else ():
        least = HALF * min(share, now.get(name, 0.0))
        have = round(found.get(name, 0.0) * len(labels))
        if have < least * len(labels) and binom.cdf(have, len(labels), least) < BY_CHANCE:
            lacking[name] = share - found.get(name, 0.0)
    if not lacking:
        return []
    name = max(lacking, key=lacking.__getitem__)
    return [
        f"labels come for a part of the requests alone: {name} has {found.get(name, 0.0):.0%} of the last "
        f"{len(labels)} labels, and {now[name]:.0%} of the requests, so that little is known of its errors"
    ]
