"""Columns of a series that are made of the labels of later rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from firstfault.check import Judgement, check, passed, skipped
from firstfault.checks.data._times import times_by_split
from firstfault.data.splits import to_array
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.subject import Subject

Array = np.ndarray[Any, Any]

ROWS_A_WEIGHT = 5  # at least, so that least squares find no exact sum by chance
MOST_ROWS = 3_000  # of the series, the last: bounds the time
DISTINCT = 0.9  # of the times: else several series lie side by side, and a row's neighbours are not its own


@check(layer=Layer.DATA, needs={"raw"}, detects={"target_leakage": 0.95})
def later_labels(subject: Subject, *, exact: float = 1e-5, reach: int = 30, times: float = 10.0) -> Iterator[Judgement]:
    """Find columns of a series that are sums of labels, among them those of later rows.

    Measures: the share of a column's variance that is left open by the labels of the `reach` rows before, its own and
        the `reach` rows after, in the order of time, by least squares.
    Fails when: the share is below `exact`, as of next day's value or a centred mean, and the rows before and its own
        leave `times` as much open.
    Warns when: the rows before leave `times` as much open, and with the own label they don't: a mean that takes in the
        row itself.
    Not a fault when: a column holds earlier labels only: a lag is known in time.
    Source: Kapoor & Narayanan 2023, temporal leakage. A sum of labels that were rounded leaves about 1e-7 open, and
        the earlier ones of a random walk 1e-3; tests/checks/data/test_time_order.py holds both.
    """
    series = _in_time(subject)
    if series is None:
        yield skipped("only numbers to predict from a table with one series in time are looked at")
        return
    frame, y = series
    reach = min(reach, (len(y) // ROWS_A_WEIGHT - 1) // 2)
    around = np.lib.stride_tricks.sliding_window_view(y, 2 * reach + 1)
    found = {
        str(name): place
        for name in frame.select_dtypes(include=["number"]).columns
        if (place := _latest(around, frame[name].to_numpy(float, na_value=np.nan)[reach:-reach], exact, times)) >= 0
    }
    if not found:
        yield passed("no column is a sum of its own or of later labels")
        return
    later = [name for name, place in found.items() if place > 0]
    yield Judgement(
        Status.FAIL if later else Status.WARN,
        f"{', '.join(later or found)} {'is' if len(later or found) == 1 else 'are'} a sum of labels, "
        + ("of later rows too" if later else "the row's own among them"),
        value=len(later or found),
        threshold=0,
        where=Place.columns(*(later or found)),
        faults=None if later else {"target_leakage": 0.4},
        fix="shift the label before it is summed: a row may hold what was known before it alone",
    )


def _in_time(subject: Subject) -> tuple[pd.DataFrame, Array] | None:
    """The columns and labels of all rows in the order of their times; None for what is no one series of numbers."""
    moments = times_by_split(subject)
    if subject.target.task != "regression" or len(moments) < len(subject.raw.items()):
        return None
    labels = [to_array(split.y) for _, split in subject.raw.items()]
    when = np.concatenate([moments[name].values for name, _ in subject.raw.items()])
    if any(y.ndim != 1 or y.dtype.kind not in "fiu" for y in labels):
        return None
    y, frame = np.concatenate(labels).astype(float), pd.concat([split.X for _, split in subject.raw.items()])
    order = np.argsort(when, kind="stable")[-MOST_ROWS:]
    fits = len(order) >= 3 * ROWS_A_WEIGHT and len(np.unique(when[order])) >= DISTINCT * len(order)
    return (frame.iloc[order], y[order]) if fits and np.isfinite(y).all() and np.ptp(y) > 0 else None


def _latest(around: Array, values: Array, exact: float, times: float) -> int:
    """How a column is made: 1 of later labels, 0 of the own and earlier ones, -1 of neither or of earlier ones."""
    known = np.isfinite(values)
    if known.sum() < ROWS_A_WEIGHT * around.shape[1] or np.ptp(values[known]) == 0:
        return -1
    around, values, middle = around[known], values[known], around.shape[1] // 2
    if _left_open(around, values) > exact:
        return -1
    if _left_open(around[:, : middle + 1], values) > times * exact:
        return 1
    return 0 if _left_open(around[:, :middle], values) > times * exact else -1


def _left_open(labels: Array, values: Array) -> float:
    """The share of the variance of values `(N,)` that sums of labels `(N, K)` leave open."""
    columns = np.column_stack([labels, np.ones(len(labels))])
    left = values - columns @ np.linalg.lstsq(columns, values, rcond=None)[0]
    return float(left.var() / values.var())
