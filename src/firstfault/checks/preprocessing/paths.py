"""Does every split take the same path? Metamorphic tests: the preparation runs again on changed splits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from firstfault.check import Judgement, check, judge, passed, skipped
from firstfault.errors import UserCodeError
from firstfault.finding import Layer, Status
from firstfault.preparing import prepare
from firstfault.splits import Split, Splits, take
from firstfault.stages import numbers

MOST_ROWS = 4_000


def _again(subject: Any, splits: Splits) -> Splits | None:
    try:
        return prepare(subject.target, splits).prepared
    except UserCodeError:
        return None


def difference(a: Any, b: Any) -> float:
    """The share of values that differ, beyond float noise on the scale of their column; 1 for other shapes."""
    first, second = numbers(a), numbers(b)
    if first.shape != second.shape:
        return 1.0
    if first.size == 0:
        return 0.0
    first, second = first.reshape(len(first), -1), second.reshape(len(second), -1)
    scale = np.maximum(np.nanstd(first, axis=0, keepdims=True), 1e-6)
    apart = np.abs(first - second) > 1e-3 * scale + 1e-6 * np.abs(first)
    apart |= np.isnan(first) != np.isnan(second)
    return float(apart.mean())


def _repeatable(subject: Any) -> bool:
    """Whether the preparation gives the same train split twice; the other tests need that."""
    if "repeatable" not in subject.built:
        raw = subject.pipeline.stages[0].splits
        again = _again(subject, raw)
        subject.built["repeatable"] = again is not None and difference(subject.prepared.train.X, again.train.X) == 0
    return bool(subject.built["repeatable"])


@check(layer=Layer.PREPROCESSING, needs={"pipeline"}, detects={"nondeterministic_transform": 0.9})
def nondeterministic_transform(subject: Any, *, share: float = 0.01) -> Iterator[Judgement]:
    """Find preparation that gives two results for one input; `value` is the share of values that differ.

    The steps run again on the same raw data. A `prepare` that shuffles anew gives the same rows in another
    order: its sorted columns are compared.

    Source: FAULTS of this project; randomness belongs into training.augment.
    """
    again = _again(subject, subject.pipeline.stages[0].splits)
    if again is None:
        yield skipped("the preparation could not be run again")
        return
    first, second = subject.prepared.train.X, again.train.X
    value = difference(first, second)
    if value > share and subject.target.prepare is not None:
        value = min(value, _sorted_difference(first, second))
    yield judge(
        value, above=share, where=subject.pipeline.stages[-1].name, message=f"{value:.1%} of the values differ when it runs again",
        fix="seed the step, or move the randomness into training.augment",
    )


def _sorted_difference(a: Any, b: Any) -> float:
    first, second = numbers(a), numbers(b)
    if first.shape != second.shape:
        return 1.0
    return difference(np.sort(first.reshape(len(first), -1), 0), np.sort(second.reshape(len(second), -1), 0))


@check(layer=Layer.PREPROCESSING, needs={"pipeline"}, detects={"fit_on_all_data": 0.95})
def fit_on_all_data(subject: Any, *, share: float = 0.01) -> Iterator[Judgement]:
    """Find preparation that learns from held-out rows: strange test rows must not change the train rows.

    `value` is the share of prepared training values that change.

    Source: Kapoor & Narayanan 2023, leakage; metamorphic test.
    """
    if subject.target.prepare is None:
        yield passed("firstfault fits every step on train alone")
        return
    if not _repeatable(subject):
        yield skipped("the preparation differs from run to run")
        return
    raw = subject.pipeline.stages[0].splits
    strange = Splits(raw.train, Split(_strange(raw.validation.X), raw.validation.y), Split(_strange(raw.test.X), raw.test.y))
    again = _again(subject, strange)
    if again is None:
        yield skipped("the preparation refuses strange held-out rows")
        return
    value = difference(subject.prepared.train.X, again.train.X)
    yield judge(
        value, above=share, where=subject.pipeline.stages[-1].name,
        message=f"{value:.0%} of the prepared training values change when the held-out rows do",
        fix="fit on train only, then transform the rest",
    )


def _strange(X: Any) -> Any:
    """The same inputs, stretched and moved."""
    if isinstance(X, pd.DataFrame):
        numeric = X.select_dtypes(include=["number"]).columns
        changed = X.copy()
        changed[numeric] = X[numeric].astype(float) * 3 + 7
        return changed
    values = np.asarray(X)
    return values if values.dtype.kind not in "fiu" else (values * 3 + 7).astype(values.dtype)


@check(layer=Layer.PREPROCESSING, needs={"pipeline"}, detects={"inconsistent_transform": 0.92})
def inconsistent_transform(subject: Any, *, share: float = 0.01) -> Iterator[Judgement]:
    """Find splits that are prepared differently: training rows sent down the other paths must come out the same.

    `value` is the share of values that differ between the paths, of the worst path. A function X -> X is
    applied to each split by itself: where its result depends on the other rows, small differences are a warning.

    Source: FAULTS of this project; metamorphic test.
    """
    raw = subject.pipeline.stages[0].splits
    rows = np.arange(min(len(raw.train.y), MOST_ROWS))
    copies = take(raw.train, rows)
    again = _again(subject, Splits(raw.train, copies, copies))
    if again is None or not _repeatable(subject) or len(again.validation.X) != len(rows) or len(again.train.X) != len(raw.train.y):
        yield skipped("the preparation refuses copies of train, moves rows, or differs from run to run")
        return
    if _moves_rows(again, rows):
        yield skipped("the preparation moves rows, so that paths cannot be compared row by row")
        return
    own = numbers(again.train.X)[: len(rows)]
    paths = {"validation": again.validation.X, "test": again.test.X}
    values = {name: _size_of_difference(own, numbers(X)) for name, X in paths.items()}
    worst = max(values, key=lambda name: values[name])
    moved = difference(own, numbers(paths[worst]))
    text = f"{moved:.0%} of the values of the same rows differ between the paths of train and {worst}"
    yield Judgement(
        Status.FAIL if moved > share and values[worst] > 0.1 else Status.WARN if moved > share else Status.PASS,
        text, value=moved, threshold=share, where=worst if moved > share else None,
        fix="apply the same fitted steps to every split" if moved > share else None,
    )


def _moves_rows(again: Splits, rows: Any) -> bool:
    """Whether a path holds the same values as train in another order of rows."""
    own = numbers(again.train.X)[: len(rows)]
    for X in (again.validation.X, again.test.X):
        other = numbers(X)
        if own.shape == other.shape and difference(own, other) > 0.01 and _sorted_difference(own, other) < 0.01:
            return True
    return False


def _size_of_difference(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    """The mean difference in units of the column's deviation, over the columns that differ most (the upper tenth)."""
    if a.shape != b.shape:
        return float("inf")
    a, b = a.reshape(len(a), -1), b.reshape(len(b), -1)
    scale = np.maximum(np.nanstd(a, axis=0), 1e-6)
    moved = np.nan_to_num(np.nanmean(np.abs(a - b), axis=0) / scale)
    return float(np.quantile(moved, 0.9))


@check(layer=Layer.PREPROCESSING, needs={"pipeline"}, detects={"batch_dependent_transform": 0.9})
def batch_dependent_transform(subject: Any, *, size: float = 0.3) -> Iterator[Judgement]:
    """Find fitted steps whose result for a sample depends on the samples beside it; `value` in column deviations.

    Source: FAULTS of this project; the same row in two batches.
    """
    if subject.target.prepare is not None or not subject.pipeline.steps:
        yield skipped("there is no step that serving could apply to a batch")
        return
    raw = subject.pipeline.stages[0].splits.validation
    n = min(len(raw.y), 64)
    if n < 8 or not _repeatable(subject):
        yield skipped("too few rows, or a preparation that differs from run to run")
        return
    try:
        whole = numbers(subject.pipeline.apply(take(raw, np.arange(n)).X))
        few = numbers(subject.pipeline.apply(take(raw, np.arange(4)).X))
    except Exception as error:
        yield skipped(f"the steps refuse a small batch: {type(error).__name__}")
        return
    value = _size_of_difference(whole[:4], few) if len(whole) == n and len(few) == 4 else 0.0
    scale = np.maximum(np.nanstd(whole.reshape(len(whole), -1), axis=0), 1e-6)
    moved = np.abs(whole[: len(few)].reshape(len(few), -1) - few.reshape(len(few), -1)) / scale if len(few) == 4 else np.zeros(1)
    value = float(np.quantile(np.nan_to_num(moved.mean(0)), 0.9)) if moved.ndim == 2 else value
    yield judge(
        value, above=size, where=subject.pipeline.stages[-1].name,
        message=f"a row moves by {value:.2f} deviations when it is prepared in a batch of 4 instead of {n}",
        fix="use statistics fitted on train",
    )
