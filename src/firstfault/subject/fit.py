"""Whether a target is of an incident's requests at all: their columns are its own."""

from __future__ import annotations

from typing import Any

import pandas as pd

from firstfault.errors import Missing, TargetError
from firstfault.subject.incident import incident
from firstfault.subject.subject import Subject

FEWEST = 5
"""Samples: in fewer, a column may be lacking by accident."""


def expect_fit(subject: Subject) -> None:
    """Expect that requests have the columns of the target's data.

    Raises:
        TargetError: when one of its columns is in no request, before or now.
    """
    try:
        X = subject.raw.train.X
    except Missing:
        return
    if not isinstance(X, pd.DataFrame):
        return
    seen = incident(subject)
    rows = [*_rows(seen.control.values("raw")), *_rows(seen.requests.values("raw"))]
    if len(rows) < FEWEST:
        return
    known = {str(name) for row in rows for name in row}
    lacking = [str(name) for name in X.columns if str(name) not in known]
    if lacking:
        raise TargetError(
            f"the requests of {seen.id} must have the columns of the target {subject.target.name}, but none of them "
            f"has {', '.join(lacking[:5])}{' …' if len(lacking) > 5 else ''}; they have {', '.join(sorted(known)[:8])}"
        )


def _rows(values: list[Any]) -> list[dict[str, Any]]:
    return [value for value in values if isinstance(value, dict)]
