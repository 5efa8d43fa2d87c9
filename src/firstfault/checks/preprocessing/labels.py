"""Do inputs keep their own labels? Tests on the labels themselves, and a metamorphic one with made-up labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from firstfault.check import Judgement, check, judge, passed, skipped
from firstfault.errors import UserCodeError
from firstfault.finding import Layer, Status
from firstfault.preparing import prepare
from firstfault.splits import Split, Splits, to_array
from firstfault.stages import numbers


@check(layer=Layer.PREPROCESSING, needs={"pipeline"}, detects={"label_scaled": 0.95})
def label_scaled(subject: Any) -> Iterator[Judgement]:
    """Find class labels that were scaled like inputs: whole numbers or names before, fractions after.

    Source: UMLAUT; FAULTS of this project.
    """
    if subject.target.task != "classification":
        yield skipped("only class labels must not be scaled")
        return
    for name, split in subject.prepared.items():
        y = to_array(split.y)
        if y.dtype.kind == "f" and y.ndim == 1:
            values = np.unique(y[np.isfinite(y)])
            if len(values) and not np.allclose(values, np.round(values)):
                shown = ", ".join(f"{value:.3g}" for value in values[:3])
                yield Judgement(
                    Status.FAIL, f"the class labels of {name} became fractions: {shown}", where=f"labels of {name}",
                    fix="scale the inputs only",
                )
                return
    yield passed("the class labels are still classes")


@check(layer=Layer.PREPROCESSING, needs={"pipeline"}, detects={"label_encoding_order": 0.9})
def label_encoding_order(subject: Any) -> Iterator[Judgement]:
    """Find splits whose classes are encoded differently: the share of each id moves between splits.

    Compared with the raw shares: a permutation that fits clearly better than the identity is a fault.

    Source: FAULTS of this project, confusion matrix as a permutation.
    """
    if subject.target.task != "classification" or subject.target.prepare is None:
        yield skipped("firstfault encodes the labels itself, once for all splits")
        return
    mapping = {}
    raw = subject.pipeline.stages[0].splits
    for (name, before), (_, after) in zip(raw.items(), subject.prepared.items(), strict=True):
        first, second = to_array(before.y), to_array(after.y)
        if first.shape != second.shape or first.ndim != 1:
            yield skipped("the splits have other sizes after prepare")
            return
        table = pd.crosstab(pd.Series(first), pd.Series(second))
        if (table.to_numpy().max(1) < 0.99 * table.to_numpy().sum(1)).any():
            yield skipped("the rows were reordered, so that labels cannot be matched")
            return
        mapping[name] = {key: table.columns[index] for key, index in zip(table.index, table.to_numpy().argmax(1), strict=True)}
    for name in ("validation", "test"):
        wrong = [key for key, value in mapping[name].items() if key in mapping["train"] and mapping["train"][key] != value]
        if wrong:
            yield Judgement(
                Status.FAIL, f"{len(wrong)} classes have other ids in {name} than in train", value=len(wrong), threshold=0,
                where=f"labels of {name}", fix="fit one label encoding on train, and keep it",
            )
            return
    yield passed("every split encodes the classes alike")


@check(layer=Layer.PREPROCESSING, needs={"pipeline"}, detects={"misaligned_labels": 0.95})
def misaligned_labels(subject: Any, *, agreement: float = 0.8) -> Iterator[Judgement]:
    """Find preparation that parts inputs from their labels, by labels that the inputs give away.

    The preparation runs once more with labels that say which half of the samples (by a
    sum over the inputs) a sample belongs to. After it, a small tree must still read the labels off the
    prepared inputs: `value` is its accuracy on held-out rows, 1 when aligned and 0.5 when not.

    Source: metamorphic test of this project; the real labels may be as hard as they like.
    """
    made_up = _made_up(subject)
    if made_up is None:
        yield skipped("no made-up labels can be drawn from these inputs")
        return
    try:
        prepared = prepare(subject.target, made_up).prepared
    except UserCodeError as error:
        yield skipped(f"the preparation refuses made-up labels: {error}")
        return
    for name, split in prepared.items():
        if len(split.X) != len(split.y):
            continue
        value = _readable(split)
        if value is None:
            continue
        if value < agreement:
            before = _readable(dict(made_up.items())[name])
            if before is None or before < 0.95:
                continue
            yield judge(
                value, below=agreement, where=f"{subject.pipeline.stages[-1].name}, {name}",
                message=f"labels that follow from the inputs of {name} are read off the prepared inputs with {value:.0%} (chance 50 %)",
                fix="shuffle, filter and sort inputs and labels together",
            )
            return
    yield passed("inputs keep their own labels through the preparation")


def _made_up(subject: Any) -> Splits | None:
    raw = subject.pipeline.stages[0].splits
    classes = pd.unique(pd.Series(to_array(raw.train.y).reshape(-1)).dropna())
    if subject.target.task not in ("classification", "regression") or to_array(raw.train.y).ndim != 1:
        return None
    if subject.target.task == "classification" and len(classes) < 2:
        return None
    column = _best_column(raw.train)
    if column is None:
        return None
    low, high = (classes[0], classes[1]) if subject.target.task == "classification" else (float(np.min(classes)), float(np.max(classes)))
    bound = np.nanmedian(_column(raw.train.X, column))
    parts = []
    for _, split in raw.items():
        y = to_array(split.y).copy()
        y[:] = np.where(_column(split.X, column) > bound, high, low)
        parts.append(Split(split.X, y))
    return Splits(*parts)


def _column(X: Any, column: int) -> np.ndarray[Any, Any]:
    flat = numbers(X).reshape(len(X), -1)
    return flat.mean(1) if column < 0 else flat[:, column]


def _best_column(train: Split) -> int | None:
    """The column that its median parts best into halves; −1 for the mean of all (images)."""
    values = numbers(train.X)
    if values.size == 0 or len(values) < 40:
        return None
    if values.ndim > 2:
        return -1
    medians = np.nanmedian(values, axis=0)
    share = (values > medians).mean(0)
    best = int(np.abs(share - 0.5).argmin())
    return best if abs(share[best] - 0.5) < 0.25 else None


def _readable(split: Split) -> float | None:
    """Accuracy of a shallow tree on the odd rows after learning on the even ones; balanced over the two labels."""
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.tree import DecisionTreeClassifier

    X = numbers(split.X).reshape(len(split.X), -1)[:4000]
    y = pd.factorize(pd.Series(to_array(split.y).reshape(-1)))[0][:4000]
    if X.shape[1] == 0 or len(X) < 40 or len(np.unique(y)) != 2:
        return None
    X = np.nan_to_num(np.column_stack([X, X.mean(1)]), nan=0.0, posinf=0.0, neginf=0.0)
    order = np.random.default_rng(0).permutation(len(X))
    fit, held = order[::2], order[1::2]
    if len(np.unique(y[fit])) < 2:
        return None
    tree = DecisionTreeClassifier(max_depth=6, random_state=0).fit(X[fit], y[fit])
    return float(balanced_accuracy_score(y[held], tree.predict(X[held])))
