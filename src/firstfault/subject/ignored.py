"""The columns of raw samples that the offline model does not look at."""

from __future__ import annotations

from typing import Any

import numpy as np

from firstfault.subject.memo import memo
from firstfault.subject.replays import differ, replays
from firstfault.subject.subject import Subject

ROWS = 300
"""A column that changes one answer in a hundred is found among so many with 95 %."""


@memo(of="trained")
def ignored_columns(subject: Subject) -> frozenset[str]:
    """The columns that, shuffled among the control's samples, change no answer; none where samples are no rows.

    Raises:
        Missing: when nothing can be replayed.
    """
    both = replays(subject)
    rows: list[dict[str, Any]] = [row for row in both.control.raw if isinstance(row, dict)][:ROWS]
    if not rows:
        return frozenset()
    side, before = both.control, both.control.answers(both.truth.prepared(rows))
    order = np.random.default_rng(0).permutation(len(rows))
    found = set()
    for name in dict.fromkeys(name for row in rows for name in row):
        mixed = [{**row, name: rows[other].get(name)} for row, other in zip(rows, order, strict=True)]
        if name not in both.truth.columns or not differ(before, side.answers(both.truth.prepared(mixed))).any():
            found.add(str(name))
    return frozenset(found)
