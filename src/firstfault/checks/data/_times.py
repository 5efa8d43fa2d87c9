"""The time column of every split, declared or the only one there is, read once; and which splits follow train in it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from firstfault.checks.data._distances import is_time
from firstfault.data.splits import Split
from firstfault.data.times import Times, times_of
from firstfault.subject.memo import memo
from firstfault.subject.subject import Subject

FOLLOWING = 0.99  # of the rows: some come late
NO_TIME = "the target declares no data.time, or its values are no times"


@memo(of="raw")
def declared_times(subject: Subject) -> dict[str, Times]:
    """The declared time column of every split, read once; empty when there is none or it holds no times."""
    return _by_split(subject, subject.data.time)


def times_by_split(subject: Subject) -> dict[str, Times]:
    """The same by the declared time column, or by the only column of moments that there is."""
    return _by_split(subject, _time_name(subject))


def _by_split(subject: Subject, name: str | None) -> dict[str, Times]:
    found = {}
    for split, (X, _) in subject.raw.items():
        if (
            name is not None
            and isinstance(X, pd.DataFrame)
            and name in X.columns
            and (times := times_of(X[name])) is not None
        ):
            found[split] = times
    return found


def follows_in_time(subject: Subject, split: Split) -> bool:
    """Whether a split is later than train in the declared time, or in the only column of moments that there is."""
    train, name = subject.raw.train.X, _time_name(subject)
    if name is None or not isinstance(split.X, pd.DataFrame) or name not in split.X.columns:
        return False
    first, second = times_of(train[name]), times_of(split.X[name])
    if first is None or second is None or np.isnan(first.values).all():
        return False
    return bool((second.values >= np.nanquantile(first.values, FOLLOWING)).mean() >= FOLLOWING)


@memo(of="raw")
def _time_name(subject: Subject) -> str | None:
    X = subject.raw.train.X
    if subject.data.time is not None or not isinstance(X, pd.DataFrame) or not X.columns.is_unique:
        return subject.data.time
    moments = [name for name in X.columns if is_time(X[name])]
    return moments[0] if len(moments) == 1 else None
