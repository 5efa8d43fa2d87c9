"""Columns that give the label away alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from firstfault.check import Judgement, check, passed, skipped
from firstfault.data.frames import table
from firstfault.data.splits import to_array
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.memo import memo
from firstfault.subject.subject import Subject
from firstfault.texts import as_text

Array = np.ndarray[Any, Any]

FEWEST_ROWS = 80  # forty to fit a tree on, and forty to judge it by
MOST_ROWS = 3_000  # bounds the time: a balanced accuracy of two classes errs by 0.01
FEWEST_OF_CLASS = 10  # five rows of each class in each half
ABSENT = -1e300  # a missing value as a number below all others
MOST_FITTED = 1_000  # rows that the forest over all other columns is fitted on: bounds its time
CODE = re.compile(r"^(\D*)(\d*)")


class Sample(NamedTuple):
    """Some rows of train: the frame, class ids or ranks `(n,)`, and whether they are classes."""

    frame: pd.DataFrame
    target: Array
    classes: bool


@check(layer=Layer.DATA, needs={"raw"}, detects={"target_leakage": 0.92})
def target_leakage(
    subject: Subject,
    *,
    gives_away: float = 0.98,
    ordinary: float = 0.9,
    narrow: float = 0.1,
    left_open: float = 0.08,
    times_surer: float = 4.0,
) -> Iterator[Judgement]:
    """Find a column that gives the label away alone.

    Measures: the best column's balanced accuracy (R² of ranks for numbers), by a shallow tree on that column, fitted on
        half of up to 3,000 rows and judged on the other. Of texts and ids the prefix and the number are tried too;
        missing counts as a value.
    Fails when: a column reaches `gives_away`, the best other stays below `ordinary`, and a forest over all others
        leaves more than `left_open` open and `times_surer` times the errors; or the column is made from the label,
        however good others are: one value per class, ranges that take less than `narrow` of the whole, a running
        number, or filled in one class only; or it is missing in one class only, and in `gives_away` of it.
    Warns when: a column's missing values all lie in one class: at least 30, which chance explains with less than 10⁻⁶.
    Not a fault when: several columns are strong, as in data that are easily separable (iris).
    Source: Kapoor & Narayanan 2023; benchmarks/localise.py, fault target_leakage, and benchmarks/data_defects.py plant
        codes of the label.
    """
    sample = leak_sample(subject)
    if sample is None:
        yield skipped(f"only tables of at least {FEWEST_ROWS} rows and 2 columns are looked at")
        return
    scores = column_scores(subject)
    ranked = sorted(scores, key=lambda name: -scores[name])
    found = leaking_columns(subject, gives_away, ordinary, narrow, left_open, times_surer)
    if found:
        best_of_rest = max((scores[name] for name in ranked if scores[name] < gives_away), default=0.0)
        told = (
            f"{found[0]} alone predicts the label with {scores[found[0]]:.3f}, "
            f"the best other column with {best_of_rest:.3f}"
        )
        yield Judgement(
            Status.FAIL,
            told,
            value=scores[found[0]],
            threshold=gives_away,
            where=Place.columns(*found),
            fix="drop the column: it is not known at prediction time",
        )
        return
    telling = _missing_in_one_class(sample)
    if telling:
        name, reach = telling
        surely = reach >= gives_away
        yield Judgement(
            Status.FAIL if surely else Status.WARN,
            f"{name} is missing in rows of one class only, in {reach:.0%} of them",
            value=reach,
            threshold=gives_away,
            where=Place.columns(name),
            faults={"target_leakage": 0.92 if surely else 0.5},
            fix="find out why it is missing there, and whether it will be at prediction time",
        )
        return
    yield passed(f"{ranked[0]} alone predicts the label best, with {scores[ranked[0]]:.3f}", value=scores[ranked[0]])


def leaking_columns(
    subject: Subject,
    gives_away: float = 0.98,
    ordinary: float = 0.9,
    narrow: float = 0.1,
    left_open: float = 0.08,
    times_surer: float = 4.0,
) -> list[str]:
    """The columns that give the label away alone, the surest first."""
    sample = leak_sample(subject)
    if sample is None:
        return []
    scores = column_scores(subject)
    ranked = sorted(scores, key=lambda name: -scores[name])
    leaks = [name for name in ranked if scores[name] >= gives_away]
    if not leaks or len(leaks) > max(1, len(ranked) // 4):
        return []
    best_of_rest = max((scores[name] for name in ranked if name not in leaks), default=0.0)
    codes = [name for name in leaks if _is_code(sample, name, gives_away, narrow)]
    if codes or best_of_rest >= ordinary:
        return codes
    return leaks if says_more(sample, leaks, scores[leaks[0]], left_open, times_surer) else []


@memo(of="raw")
def leak_sample(subject: Subject) -> Sample | None:
    """Up to 3,000 rows of a table, before anything is encoded; classes of fewer than 10 rows are left out."""
    train = subject.raw.train
    frame, y, task = table(train.X), to_array(train.y), subject.target.task
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if (
        frame is None
        or frame.shape[1] < 2
        or y.ndim != 1
        or len(y) < FEWEST_ROWS
        or task not in ("classification", "regression")
    ):
        return None
    if not pd.Index([str(name) for name in frame.columns]).is_unique:
        return None
    rows = np.sort(np.random.default_rng(0).permutation(len(y))[:MOST_ROWS])
    labels = pd.Series(y[rows])
    if task == "classification":
        keep = labels.groupby(labels).transform("size").to_numpy() >= FEWEST_OF_CLASS
    else:
        labels = pd.to_numeric(labels, errors="coerce")
        keep = np.isfinite(labels.to_numpy(float))
    keep &= labels.notna().to_numpy()
    labels = labels[keep]
    if keep.sum() < FEWEST_ROWS or labels.nunique() < 2:
        return None
    target = pd.factorize(labels)[0] if task == "classification" else labels.rank(pct=True).to_numpy()
    shuffled = np.random.default_rng(1).permutation(len(target))
    return Sample(frame.iloc[rows[keep][shuffled]].reset_index(drop=True), target[shuffled], task == "classification")


@memo(of="raw")
def column_scores(subject: Subject) -> Mapping[str, float]:
    """How well each column of the leak sample alone predicts the label; empty where there is no sample."""
    sample = leak_sample(subject)
    if sample is None:
        return {}
    return {
        str(name): max(_tree_score(values, sample) for values in _readings(sample.frame[name], sample))
        for name in sample.frame.columns
    }


def _readings(column: pd.Series, sample: Sample) -> list[Array]:
    """A column as numbers `(n,)`, in each way that could hold the label."""
    if pd.api.types.is_numeric_dtype(column):
        return [_finite(column.to_numpy(dtype=float, na_value=np.nan))]
    if pd.api.types.is_datetime64_any_dtype(column) or pd.api.types.is_timedelta64_dtype(column):
        return [np.where(column.isna(), ABSENT, column.astype("int64").to_numpy(float))]
    texts = as_text(column).where(column.notna(), "")
    codes, values = pd.factorize(texts, sort=True)
    if 2 * len(values) < len(texts):
        return [codes.astype(float), *([_by_target(codes, sample)] if len(values) > 2 else [])]
    parts = [CODE.match(text) for text in texts]
    prefix = pd.factorize(pd.Series([part.group(1)[:20] if part else "" for part in parts]), sort=True)[0]
    number = [float(part.group(2)[:15] or -1) if part else -1.0 for part in parts]
    return [prefix.astype(float), np.array(number), codes.astype(float)]


def _finite(values: Array) -> Array:
    return np.nan_to_num(values, nan=ABSENT, posinf=1e300, neginf=-1e299)


def _by_target(codes: Array, sample: Sample) -> Array:
    """Categories by their mean label in the other half of the rows, so that one cut parts them."""
    ordered, half = np.zeros(len(codes)), len(codes) // 2
    target = sample.target.astype(float)
    for own, other in ((slice(None, half), slice(half, None)), (slice(half, None), slice(None, half))):
        sums = np.bincount(codes[other], target[other], minlength=codes.max() + 1)
        counts = np.bincount(codes[other], minlength=codes.max() + 1)
        ordered[own] = np.where(counts, sums / np.maximum(counts, 1), target.mean())[codes[own]]
    return ordered


def _tree_score(values: Array, sample: Sample) -> float:
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    half = len(values) // 2
    column = np.clip(values, -1e37, 1e37)[:, None]
    predicted = np.zeros(len(values))
    for own, other in ((slice(None, half), slice(half, None)), (slice(half, None), slice(None, half))):
        model = (
            DecisionTreeClassifier(max_leaf_nodes=32, random_state=0)
            if sample.classes
            else DecisionTreeRegressor(max_leaf_nodes=128, random_state=0)
        )
        predicted[own] = model.fit(column[other], sample.target[other]).predict(column[own])
    return score_of(predicted, sample)


def score_of(predicted: Array, sample: Sample) -> float:
    """Balanced accuracy of class ids, R² of ranks."""
    target = sample.target
    if sample.classes:
        hits = np.bincount(target, predicted == target)
        return float((hits / np.bincount(target)).mean())
    return float(1 - ((target - predicted) ** 2).sum() / ((target - target.mean()) ** 2).sum())


def _is_code(sample: Sample, name: str, gives_away: float, narrow: float) -> bool:
    """Whether a column is made from the label: narrow per class, a running number, or filled in one class only."""
    if not sample.classes:
        return False
    column = column_of(sample, name)
    number = pd.api.types.is_numeric_dtype(column) and not column.isna().any()
    if number and column.is_unique and (column % 1 == 0).all():
        return True
    return any(
        (
            _tree_score(values, sample) >= gives_away
            and (_one_per_class(values, sample) or (number and _narrow(values, sample, narrow)))
        )
        or _one_class_only(values, sample) >= gives_away
        for values in _readings(column, sample)
    )


def _one_per_class(values: Array, sample: Sample) -> bool:
    return len(np.unique(values)) <= len(np.unique(sample.target)) + 1


def _narrow(values: Array, sample: Sample, narrow: float) -> bool:
    by_class = pd.Series(values).groupby(sample.target)
    low, high = by_class.quantile(0.02), by_class.quantile(0.98)
    return bool((high - low).sum() < narrow * (high.max() - low.min()))


def _one_class_only(values: Array, sample: Sample) -> float:
    """How well the most common value alone tells one of two classes, as balanced accuracy."""
    usual, counts = np.unique(values, return_counts=True)
    if len(np.unique(sample.target)) != 2 or counts.max() < FEWEST_OF_CLASS:
        return 0.0
    share = np.bincount(sample.target, values == usual[counts.argmax()]) / np.bincount(sample.target)
    return float(abs(share[0] - share[1]) / 2 + 0.5)


def says_more(sample: Sample, leaks: list[str], score: float, left_open: float, times_surer: float) -> bool:
    """Whether columns say more of the label than all others together: easily separable data have columns that don't."""
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
    from sklearn.model_selection import cross_val_predict

    rest = [name for name in sample.frame.columns if str(name) not in leaks]
    if not rest:
        return False
    rows = slice(None, MOST_FITTED)
    X = np.column_stack([_readings(sample.frame[name], sample)[0] for name in rest])[rows].clip(-1e37, 1e37)
    part = Sample(sample.frame, sample.target[rows], sample.classes)
    if part.classes and np.bincount(part.target).min() < 3:
        return True
    kind = ExtraTreesClassifier if part.classes else ExtraTreesRegressor
    others = score_of(cross_val_predict(kind(60, random_state=0), X, part.target, cv=3), part)
    return 1 - others > max(left_open, times_surer * (1 - score))


def column_of(sample: Sample, name: str) -> pd.Series:
    """The column of that name."""
    return sample.frame.iloc[:, [str(column) for column in sample.frame.columns].index(name)]


def _missing_in_one_class(sample: Sample, fewest: int = 30, doubt: float = 1e-6) -> tuple[str, float] | None:
    """A column whose missing values lie in one class against chance, and the share of that class that they are."""
    if not sample.classes:
        return None
    sizes = np.bincount(sample.target)
    for name in sample.frame.columns:
        classes, counts = np.unique(sample.target[sample.frame[name].isna().to_numpy()], return_counts=True)
        if len(classes) == 1 and counts[0] >= fewest and (sizes[classes[0]] / len(sample.target)) ** counts[0] < doubt:
            return str(name), float(counts[0] / sizes[classes[0]])
    return None
