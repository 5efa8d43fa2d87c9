"""Rows in time: their order, gaps and spacing, and splits that overlap."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from firstfault.check import Judgement, check, judge, passed, skipped
from firstfault.checks.data._times import NO_TIME, declared_times
from firstfault.data.times import DAY, Times
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.subject import Subject
from firstfault.texts import hashable

FEWEST = 20  # different times: the tenth longest spacing is then about the median


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
    times = {split: entry for split, entry in declared_times(subject).items() if split in _as_declared(subject)}
    if not times:
        yield skipped("firstfault sorted the splits by time" if declared_times(subject) else NO_TIME)
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
    times = declared_times(subject)
    known = (
        np.unique(np.concatenate([entry.values[~np.isnan(entry.values)] for entry in times.values()]))
        if times
        else np.zeros(0)
    )
    if len(known) < FEWEST:
        yield skipped(NO_TIME if not times else f"only {len(known)} different times are there")
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
    times, group = declared_times(subject), subject.data.group
    if "train" not in times or group is None:
        yield skipped(NO_TIME if "train" not in times else "the target declares no data.group")
        return
    values = times["train"].values
    repeated = (
        pd.DataFrame({"group": hashable(subject.raw.train.X[group]).to_numpy(), "time": values})[~np.isnan(values)]
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
def time_overlap(subject: Subject, *, share: float = 0.01, at_random: float = 0.5) -> Iterator[Judgement]:
    """Find declared validation and test rows that are earlier than the last training row.

    Measures: the share of such rows of the worst split.
    Fails when: the share is above `at_random`, of splits that the user made: what a model learnt of a later time it is
        asked about an earlier one.
    Warns when: the share is above `share`.
    Not a fault when: no `data.time` is declared: whether rows in time are independent is the user's to know.
    Source: Kapoor & Narayanan 2023, temporal leakage.
    """
    times = declared_times(subject)
    names = [name for name in subject.data.declared_splits if name in times]
    if "train" not in times or not names:
        yield skipped(NO_TIME if "train" not in times else "firstfault drew the splits itself, by time")
        return
    end = float(np.nanmax(times["train"].values))
    shares = {name: float((times[name].values < end).mean()) for name in names}
    worst = max(shares, key=lambda name: shares[name])
    yield judge(
        shares[worst],
        above=share,
        otherwise=Status.FAIL if shares[worst] > at_random else Status.WARN,
        where=Place.data(worst),
        message=f"{shares[worst]:.0%} of {worst} are earlier than the last training row",
        fix=f"split by {subject.data.time}: train on the past, and test on what follows",
    )
