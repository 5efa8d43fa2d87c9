"""Times that are unreadable, impossible or mixed, in `data.time` and in other columns of dates."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from firstfault.check import Judgement, check, passed, skipped
from firstfault.checks.data._times import NO_TIME, declared_times
from firstfault.data.privacy.masking import kinds_of, masked_text
from firstfault.data.times import DAY, Times, times_of
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.subject import Subject
from firstfault.texts import hashable

YEAR = 31_556_952.0  # seconds


@check(layer=Layer.DATA, needs={"raw"}, detects={"type_change": 0.92})
def malformed_times(subject: Subject, *, share: float = 0.005) -> Iterator[Judgement]:
    """Find values of `data.time` that are no time.

    Measures: their share of the values of all splits.
    Fails when: the share is above `share`.
    Warns when: there is one.
    Not a fault when: most values of the column can't be read: it is in a format of its own.
    Source: a choice of ours; tests/checks/data/test_time_order.py holds the cases that it separates.
    """
    times = declared_times(subject)
    if not times:
        yield skipped(NO_TIME)
        return
    wrong, known = _counted(times, "malformed")
    if not wrong:
        yield passed(f"all {known} values are times", value=0.0, where=Place.columns(subject.data.time))
        return
    shown = _examples(subject, {split: entry.malformed for split, entry in times.items()})
    fails = wrong / known > share
    yield Judgement(
        Status.FAIL if fails else Status.WARN,
        f"{wrong} of {known} values of {subject.data.time} are no times, such as {shown}",
        value=wrong / known,
        threshold=share,
        where=Place.columns(subject.data.time),
        faults=None if fails else {},
        fix="repair the values at their source, or drop the rows",
    )


def _column(subject: Subject, split: str) -> pd.Series:
    return dict(subject.raw.items())[split].X[subject.data.time]


def _examples(subject: Subject, marked: dict[str, np.ndarray[Any, Any]]) -> str:
    """Up to three different values of the marked rows, as text."""
    values = [
        str(value) for split, rows in marked.items() for value in hashable(_column(subject, split)[rows]).unique()[:3]
    ]
    return ", ".join(repr(masked_text(value[:40])) for value in dict.fromkeys(values[:3]))


def _counted(times: dict[str, Times], part: str) -> tuple[int, int]:
    """How many values are of a part (malformed, beyond), and how many there are."""
    return sum(int(getattr(entry, part).sum()) for entry in times.values()), sum(
        int((~entry.missing).sum()) for entry in times.values()
    )


@check(layer=Layer.DATA, needs={"raw"}, detects={})
def mixed_time_formats(subject: Subject, *, share: float = 0.001) -> Iterator[Judgement]:
    """Find a `data.time` in several formats, or of which only a part says its time zone.

    Measures: the share of the rarer formats, or of the rarer of values with and without a zone.
    Warns when: the share is above `share`. Day and month change places unseen where formats are mixed.
    Source: a choice of ours; tests/checks/data/test_time_order.py holds the cases that it separates.
    """
    times = declared_times(subject)
    if not times:
        yield skipped(NO_TIME)
        return
    formats: dict[str, int] = {}
    for entry in times.values():
        for form, count in entry.formats.items():
            formats[form] = formats.get(form, 0) + count
    total = max(1, sum(formats.values()))
    rarer, zoned = total - max(formats.values(), default=0), sum(entry.zoned for entry in times.values())
    unlike = max(rarer, min(zoned, total - zoned)) / total
    if unlike <= share:
        yield passed("all times are in one format", value=unlike, where=Place.columns(subject.data.time))
        return
    told = ", ".join(f"{form} ({count})" for form, count in sorted(formats.items(), key=lambda entry: -entry[1])[:4])
    zones = f"; {zoned} of {total} say their time zone" if 0 < zoned < total else ""
    yield Judgement(
        Status.WARN,
        f"the times are in several formats: {told}{zones}",
        value=unlike,
        threshold=share,
        where=Place.columns(subject.data.time),
        faults={},
        fix="write all times in one format with their zone, such as ISO 8601 in UTC",
    )


@check(layer=Layer.DATA, needs={"raw"}, detects={"out_of_range": 0.92})
def times_out_of_range(
    subject: Subject, *, share: float = 0.005, first_year: int = 1900, days_ahead: float = 1.0
) -> Iterator[Judgement]:
    """Find values of `data.time` long past or in the future.

    Measures: the share of values before `first_year`, or more than `days_ahead` from now.
    Fails when: the share is above `share`.
    Warns when: there is one; or more than half are, as in a simulation.
    Source: a choice of ours: placeholders such as 9999-12-31 and 0001-01-01 lie beyond;
        tests/checks/data/test_time_order.py holds the cases.
    """
    times = declared_times(subject)
    if not times or not all(entry.dated for entry in times.values()):
        yield skipped(NO_TIME)
        return
    marked = {
        split: entry.beyond | (entry.values < _start_of(first_year)) | (entry.values > time.time() + days_ahead * DAY)
        for split, entry in times.items()
    }
    wrong, known = sum(int(rows.sum()) for rows in marked.values()), _counted(times, "malformed")[1]
    if not wrong:
        yield passed(
            f"all {known} times lie between {first_year} and now", value=0.0, where=Place.columns(subject.data.time)
        )
        return
    fails = share < wrong / known <= 0.5
    yield Judgement(
        Status.FAIL if fails else Status.WARN,
        f"{wrong} of {known} values of {subject.data.time} lie before {first_year} or in the future, such as "
        f"{_examples(subject, marked)}",
        value=wrong / known,
        threshold=share,
        where=Place.columns(subject.data.time),
        faults=None if fails else {},
        fix="correct the source; a placeholder date should be a missing value",
    )


@check(layer=Layer.DATA, needs={"raw"}, detects={})
def dates_out_of_range(subject: Subject, *, first_year: int = 1900, years_ahead: float = 50.0) -> Iterator[Judgement]:
    """Find dates long past or far ahead in the columns of dates other than `data.time`.

    Measures: the number of dates of a column before `first_year`, or more than `years_ahead` from now.
    Warns when: there is one. Placeholders such as 9999-12-31 and 0001-01-01 lie there.
    Not a fault when: dates lie ahead by less: due dates do.
    Source: a choice of ours; tests/checks/data/test_time_order.py holds the cases that it separates.
    """
    X = subject.raw.train.X
    if not isinstance(X, pd.DataFrame) or not X.columns.is_unique:
        yield skipped("only tables have columns of dates")
        return
    columns = [name for name in X.columns if name != subject.data.time and _dated(X[name])]
    personal, found = kinds_of(X[columns]), False
    for name in columns:
        times = times_of(X[name])
        if times is None or not times.dated:
            continue
        rows = times.beyond | (times.values < _start_of(first_year)) | (times.values > time.time() + years_ahead * YEAR)
        if rows.any():
            found = True
            shown = "" if name in personal else f", such as {str(X[name][rows].iloc[0])[:30]!r}"
            yield Judgement(
                Status.WARN,
                f"{int(rows.sum())} of {int((~times.missing).sum())} dates lie before {first_year} "
                f"or more than {years_ahead:g} years ahead{shown}",
                value=int(rows.sum()),
                threshold=0,
                where=Place.columns(name),
                faults={},
                fix="a placeholder date should be a missing value",
            )
    if not found:
        yield (
            passed(f"{len(columns)} columns hold dates, all between {first_year} and {years_ahead:g} years ahead")
            if columns
            else skipped("no column holds dates")
        )


def _start_of(year: int) -> float:
    """The start of a year in seconds since 1970."""
    return float(np.datetime64(f"{int(year):04d}-01-01", "s").astype(np.int64))


def _dated(column: pd.Series) -> bool:
    """Whether a column holds dates: by its type, or by a few of its values."""
    if pd.api.types.is_datetime64_any_dtype(column):
        return True
    if column.dtype != object:
        return False
    few = column.iloc[:: max(1, len(column) // 50)].head(50).dropna()
    shaped = [
        (isinstance(value, str) and 6 <= len(value) <= 35 and sum(map(str.isdigit, value)) >= 4)
        or hasattr(value, "isoformat")
        for value in few
    ]
    if not shaped or sum(shaped) < 0.9 * len(shaped):
        return False
    times = times_of(few)
    return times is not None and times.malformed.mean() <= 0.1
