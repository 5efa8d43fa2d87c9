"""Data in time: unreadable and impossible times, their order, gaps and spacing, and splits that overlap."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from firstfault.check import Judgement, check, judge, passed, skipped
from firstfault.data.privacy.masking import kinds_of, masked_text
from firstfault.data.times import Times, times_of
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.memo import memo
from firstfault.subject.subject import Subject

DAY, YEAR = 86_400.0, 31_556_952.0
FEWEST = 20  # different times: the tenth longest spacing is then about the median
_NO_TIME = "the target declares no data.time, or its values are no times"


@memo(of="raw")
def _times(subject: Subject) -> dict[str, Times]:
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


def _column(subject: Subject, split: str) -> pd.Series:
    return dict(subject.raw.items())[split].X[subject.data.time]


def _examples(subject: Subject, marked: dict[str, np.ndarray[Any, Any]]) -> str:
    """Up to three different values of the marked rows, as text."""
    values = [str(value) for split, rows in marked.items() for value in _column(subject, split)[rows].unique()[:3]]
    return ", ".join(repr(masked_text(value[:40])) for value in dict.fromkeys(values[:3]))


def _counted(times: dict[str, Times], part: str) -> tuple[int, int]:
    """How many values are of a part (malformed, beyond), and how many there are."""
    return sum(int(getattr(entry, part).sum()) for entry in times.values()), sum(
        int((~entry.missing).sum()) for entry in times.values()
    )


@check(layer=Layer.DATA, needs={"raw"}, detects={"type_change": 0.92})
def malformed_times(subject: Subject, *, share: float = 0.005) -> Iterator[Judgement]:
    """Find values of `data.time` that are no time.

    Measures: their share of the values of all splits.
    Fails when: the share is above `share`.
    Warns when: there is one.
    Not a fault when: most values of the column can't be read: it is in a format of its own.
    Source: a choice of ours; tests/checks/data/test_time_order.py holds the cases that it separates.
    """
    times = _times(subject)
    if not times:
        yield skipped(_NO_TIME)
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


@check(layer=Layer.DATA, needs={"raw"}, detects={})
def mixed_time_formats(subject: Subject, *, share: float = 0.001) -> Iterator[Judgement]:
    """Find a `data.time` in several formats, or of which only a part says its time zone.

    Measures: the share of the rarer formats, or of the rarer of values with and without a zone.
    Warns when: the share is above `share`. Day and month change places unseen where formats are mixed.
    Source: a choice of ours; tests/checks/data/test_time_order.py holds the cases that it separates.
    """
    times = _times(subject)
    if not times:
        yield skipped(_NO_TIME)
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
    times = _times(subject)
    if not times or not all(entry.dated for entry in times.values()):
        yield skipped(_NO_TIME)
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


@check(layer=Layer.DATA, needs={"raw"}, detects={})
def late_records(subject: Subject, *, mostly: float = 0.1) -> Iterator[Judgement]:
    """Find rows that come later in the file than their time, where the rest is in order.

    Measures: the share of rows that come after a row of a later time, of train or a declared split.
    Warns when: there is one, and at most `mostly` of the rows are late.
    Not a fault when: more are late: the file is in no order at all. Nothing is told of splits that firstfault sorted by
        time.
    Source: watermarks of stream processing (Akidau et al. 2015, The Dataflow Model). The bound is a choice of ours;
        tests/checks/data/test_time_order.py holds the cases that it separates.
    """
    times = {split: entry for split, entry in _times(subject).items() if split in _as_declared(subject)}
    if not times:
        yield skipped("firstfault sorted the splits by time" if _times(subject) else _NO_TIME)
        return
    late = {split: _late(entry) for split, entry in times.items()}
    split = max(late, key=lambda name: late[name].mean() if late[name].mean() <= mostly else -1.0)
    rows = late[split]
    if rows.mean() > mostly:
        yield passed(
            "the rows are not in the order of their time, and need not be",
            value=float(rows.mean()),
            where=Place.data(split),
        )
        return
    yield judge(
        float(rows.mean()),
        above=0.0,
        otherwise=Status.WARN,
        faults={},
        where=Place.data(split),
        message=f"{int(rows.sum())} of {len(rows)} rows of {split} come after rows of a later time"
        if rows.any()
        else "the rows are in the order of their time",
        fix="sort by time before splitting, and find out why records come late",
    )


def _as_declared(subject: Subject) -> tuple[str, ...]:
    """The splits whose rows are in the order in which they came."""
    declared = subject.data.declared_splits
    return ("train", *declared) if len(declared) == 2 else declared


def _late(times: Times) -> np.ndarray[Any, Any]:
    latest = np.fmax.accumulate(np.where(np.isnan(times.values), -np.inf, times.values))
    return np.asarray(times.values < latest)


@check(layer=Layer.DATA, needs={"raw"}, detects={})
def time_gaps(
    subject: Subject, *, regular: float = 0.8, missed: float = 3.0, unusual: float = 5.0, noticeable: float = 0.05
) -> Iterator[Judgement]:
    """Find gaps in time, and a change of the spacing, over the rows of all splits.

    Measures: the largest gap, in usual (median) spacings. Groups are looked at together.
    Warns when: a spacing is longer than `missed` times the tenth longest where `regular` of the spacings are equal;
        else longer than `unusual` times the tenth longest, and than `noticeable` of the whole time; or both halves have
        a regular spacing, and another one.
    Not a fault when: gaps recur, such as nights and weekends: then the tenth longest is one of them.
    Source: waiting times of a Poisson process, of which the longest is not twice the tenth longest. The bounds are a
        choice of ours; tests/checks/data/test_time_order.py holds the cases that they separate.
    """
    times = _times(subject)
    known = (
        np.unique(np.concatenate([entry.values[~np.isnan(entry.values)] for entry in times.values()]))
        if times
        else np.zeros(0)
    )
    if len(known) < FEWEST:
        yield skipped(_NO_TIME if not times else f"only {len(known)} different times are there")
        return
    spacing = np.diff(known)
    usual, even = _usual(spacing)
    halves = [_usual(half) for half in np.array_split(spacing, 2)]
    value = float(spacing.max() / usual)
    if min(share for _, share in halves) >= regular and not np.isclose(halves[0][0], halves[1][0], rtol=0.05):
        yield Judgement(
            Status.WARN,
            f"times are {_span(halves[0][0], times)} apart at first, and {_span(halves[1][0], times)} later",
            value=value,
            where=Place.columns(subject.data.time),
            faults={},
            fix="find out what changed at the source, and bring all to one spacing",
        )
        return
    longest = np.sort(spacing)[-10]
    gaps = (
        spacing > missed * longest
        if even >= regular
        else (spacing > unusual * longest) & (spacing > noticeable * (known[-1] - known[0]))
    )
    count = int(gaps.sum())
    told = (
        f"{count} gaps in time, the longest {_span(float(spacing.max()), times)} where {_span(usual, times)} is usual"
    )
    yield Judgement(
        Status.WARN if count else Status.PASS,
        told if count else f"no gap in time; times are mostly {_span(usual, times)} apart",
        value=value,
        threshold=missed if even >= regular else unusual,
        where=Place.columns(subject.data.time),
        faults={},
        fix="find out whether records are lost, and mark the gap" if count else None,
    )


def _usual(spacing: np.ndarray[Any, Any]) -> tuple[float, float]:
    """The median spacing, and the share of spacings that equal it within 5 %."""
    middle = float(np.median(spacing))
    return middle, float(np.isclose(spacing, middle, rtol=0.05).mean())


def _span(seconds: float, times: dict[str, Times]) -> str:
    if not all(entry.dated for entry in times.values()):
        return f"{seconds:.4g}"
    size, unit = next(
        ((size, unit) for size, unit in ((DAY, "days"), (3_600.0, "hours"), (60.0, "minutes")) if seconds >= size),
        (1.0, "seconds"),
    )
    return f"{seconds / size:.3g} {unit}"


@check(layer=Layer.DATA, needs={"raw"}, detects={})
def repeated_times(subject: Subject, *, share: float = 0.001) -> Iterator[Judgement]:
    """Find several rows of one group at one time.

    Measures: their share of the training rows with a time.
    Warns when: the share is above `share`.
    Not a fault when: more than half of the rows are such: then a time is no key.
    Source: panel data have one row per unit and time. The bound is a choice of ours;
        tests/checks/data/test_time_order.py holds the cases that it separates.
    """
    times, group = _times(subject), subject.data.group
    if "train" not in times or group is None:
        yield skipped(_NO_TIME if "train" not in times else "the target declares no data.group")
        return
    values = times["train"].values
    repeated = (
        pd.DataFrame({"group": subject.raw.train.X[group].to_numpy(), "time": values})[~np.isnan(values)]
        .duplicated()
        .to_numpy()
    )
    value = float(repeated.mean()) if len(repeated) else 0.0
    if value > 0.5:
        yield passed("a group has many rows at a time", value=value)
        return
    yield judge(
        value,
        above=share,
        otherwise=Status.WARN,
        faults={},
        where=Place.columns(group, subject.data.time),
        message=f"{int(repeated.sum())} of {len(repeated)} training rows repeat the time "
        f"of another row of their {group}",
        fix="keep one row per group and time, or say what tells them apart",
    )


@check(layer=Layer.DATA, needs={"raw"}, detects={"split_overlap": 0.6})
def time_overlap(subject: Subject, *, share: float = 0.01) -> Iterator[Judgement]:
    """Find declared validation and test rows that are earlier than the last training row.

    Measures: the share of such rows of the worst split.
    Warns when: the share is above `share`. No row is shared, but what a model learns of a later time it is asked about
        an earlier one. It supports a `split_overlap` that the rows themselves prove, and never stands alone.
    Source: Kapoor & Narayanan 2023, temporal leakage.
    """
    times = _times(subject)
    names = [name for name in subject.data.declared_splits if name in times]
    if "train" not in times or not names:
        yield skipped(_NO_TIME if "train" not in times else "firstfault drew the splits itself, by time")
        return
    end = float(np.nanmax(times["train"].values))
    shares = {name: float((times[name].values < end).mean()) for name in names}
    worst = max(shares, key=lambda name: shares[name])
    yield judge(
        shares[worst],
        above=share,
        otherwise=Status.WARN,
        where=Place.data(worst),
        message=f"{shares[worst]:.0%} of {worst} are earlier than the last training row",
        fix=f"split by {subject.data.time}: train on the past, and test on what follows",
    )
