"""The sample on which columns are asked for the label: each as numbers, and how well it alone predicts it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from firstfault.data.frames import table
from firstfault.data.splits import to_array
from firstfault.subject.memo import memo
from firstfault.subject.subject import Subject
from firstfault.texts import as_text

Array = np.ndarray[Any, Any]

FEWEST_ROWS = 80  # forty to fit a tree on, and forty to judge it by
MOST_ROWS = 3_000  # bounds the time: a balanced accuracy of two classes errs by 0.01
FEWEST_OF_CLASS = 10  # five rows of each class in each half
ABSENT = -1e300  # a missing value as a number below all others
CODE = re.compile(r"^(\D*)(\d*)")


class Sample(NamedTuple):
    """Some rows of train: the frame, class ids or ranks `(n,)`, and whether they are classes."""

    frame: pd.DataFrame
    target: Array
    classes: bool


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
        str(name): max(tree_score(values, sample) for values in readings(sample.frame[name], sample))
        for name in sample.frame.columns
    }


def readings(column: pd.Series, sample: Sample) -> list[Array]:
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


def tree_score(values: Array, sample: Sample) -> float:
    """How well a shallow tree on one column `(n,)`, fitted on either half, predicts the other."""
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


def numbers_of(sample: Sample) -> Array:
    """All columns as numbers `(N, D)`, each in the first of the ways that could hold the label."""
    values = [readings(sample.frame[name], sample)[0] for name in sample.frame.columns]
    return np.column_stack(values).clip(-1e37, 1e37)


def place_of(sample: Sample, name: str) -> int:
    """The place of the column of that name."""
    return [str(column) for column in sample.frame.columns].index(name)


def column_of(sample: Sample, name: str) -> pd.Series:
    """The column of that name."""
    return sample.frame.iloc[:, place_of(sample, name)]
