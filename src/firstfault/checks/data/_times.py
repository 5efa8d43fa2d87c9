"""The declared time column of every split, read once."""

from __future__ import annotations

import pandas as pd

from firstfault.data.times import Times, times_of
from firstfault.subject.memo import memo
from firstfault.subject.subject import Subject

NO_TIME = "the target declares no data.time, or its values are no times"


@memo(of="raw")
def declared_times(subject: Subject) -> dict[str, Times]:
    """The declared time column of every split, read once; empty when there is none or it holds no times."""
    name, found = subject.data.time, {}
    for split, (X, _) in subject.raw.items():
        if (
            name is not None
            and isinstance(X, pd.DataFrame)
            and name in X.columns
            and (times := times_of(X[name])) is not None
        ):
            found[split] = times
    return found
