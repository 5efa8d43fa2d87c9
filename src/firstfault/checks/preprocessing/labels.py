"""Are labels still what they were: classes that are classes, with the same number in every split?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from firstfault.check import Judgement, check, passed, skipped
from firstfault.checks.data._cut_labels import cut
from firstfault.data.splits import to_array
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.subject import Subject

Array = np.ndarray[Any, Any]


@check(layer=Layer.PREPROCESSING, needs={"pipeline"}, detects={"label_scaled": 0.95})
def label_scaled(subject: Subject) -> Iterator[Judgement]:
    """Find labels that were scaled like inputs, or cut to whole numbers by it.

    Measures: the number of distinct labels after the preparation.
    Fails when: classes became fractions, or several became one; fewer classes are left than the model has outputs for,
        or at most 3 of 20 amounts and more, and what is left is the quotient of a division; or labels that come so from
        the data are 0, 1 and so on, with a line of the target's code that divides and cuts them, or, of a regression,
        1 in at most 0.5 % of the rows.
    Not a fault when: a regression's target is scaled and keeps its values; or classes are made coarser for a model with
        as many outputs.
    Source: UMLAUT (labels that are no classes); benchmarks/localise.py scales labels by 1/255. The bounds on what is
        left are a choice of ours; tests/checks/preprocessing/test_cut_labels.py holds the cases that they separate.
    """
    wrong = _scaled_classes(subject) or _cut(subject)
    if wrong is not None:
        yield wrong
    elif subject.target.task not in ("classification", "multilabel", "regression"):
        yield skipped("the labels are no classes")
    else:
        yield passed("the labels keep their values")


def _scaled_classes(subject: Subject) -> Judgement | None:
    if subject.target.task not in ("classification", "multilabel") or subject.target.prepare is None:
        return None
    for (name, before), (_, after) in zip(subject.raw.items(), subject.prepared.items(), strict=True):
        wrong = _no_classes(_classes(before.y), _classes(after.y))
        if wrong:
            return Judgement(
                Status.FAIL,
                f"the class labels of {name} {wrong}",
                value=len(_classes(after.y)),
                threshold=len(_classes(before.y)),
                where=Place.labels(name),
                fix="scale the inputs only",
            )
    return None


def _cut(subject: Subject) -> Judgement | None:
    wrong, line = cut(subject)
    if not wrong:
        return None
    return Judgement(
        Status.FAIL,
        f"the labels of train {wrong}: a scaling cut their fractions off",
        value=len(_classes(subject.prepared.train.y)),
        where=line or Place.labels("train"),
        fix="keep classes as they are, and amounts as float32, before they are divided",
    )


def _classes(y: Any) -> Array:
    """The distinct labels that are not missing; of a matrix, its distinct entries."""
    return np.asarray(pd.unique(pd.Series(to_array(y).reshape(-1)).dropna()))


def _no_classes(before: Array, after: Array) -> str:
    if after.dtype.kind == "f" and len(after):
        fractions = after[~np.isclose(after, np.round(after), atol=1e-6)]
        known = before.dtype.kind in "fiub" and np.isin(np.round(fractions, 6), np.round(before.astype(float), 6)).all()
        if len(fractions) and not known:
            shown = ", ".join(f"{value:.3g}" for value in fractions[:3])
            return f"became fractions: {shown}"
    if len(before) > 1 and len(after) == 1:
        return f"collapsed from {len(before)} to one"
    return ""


@check(layer=Layer.PREPROCESSING, needs={"pipeline"}, detects={"label_encoding_order": 0.95})
def label_encoding_order(subject: Subject) -> Iterator[Judgement]:
    """Find splits whose classes are encoded differently.

    Measures: the number of classes with another id than in train. Raw and prepared labels are matched row by row where
        rows keep their order, else by how often each occurs.
    Fails when: there is one in validation or test.
    Source: DeepCrime (Humbatova et al. 2021), change labels of training data; no bound is needed.
        tests/checks/preprocessing/test_labels.py holds the cases.
    """
    if subject.target.task != "classification" or subject.target.prepare is None:
        yield skipped("firstfault encodes the labels itself, once for all splits")
        return
    codes: dict[str, dict[Any, Any]] = {}
    for (name, before), (_, after) in zip(subject.raw.items(), subject.prepared.items(), strict=True):
        found = encoding(before.y, after.y)
        if found is None:
            yield skipped(f"the labels of {name} cannot be matched with the raw ones")
            return
        codes[name] = found
    for name in ("validation", "test"):
        wrong = [key for key, code in codes[name].items() if key in codes["train"] and codes["train"][key] != code]
        if wrong:
            example = f"{wrong[0]} is {codes['train'][wrong[0]]} in train and {codes[name][wrong[0]]} in {name}"
            yield Judgement(
                Status.FAIL,
                f"{len(wrong)} classes have other ids in {name} than in train: {example}",
                value=len(wrong),
                threshold=0,
                where=Place.labels(name),
                fix="fit one label encoding on train, and keep it",
            )
            return
    yield passed("every split encodes the classes alike")


def encoding(before: Any, after: Any) -> dict[Any, Any] | None:
    """Which prepared label stands for which raw one; None when they cannot be matched one to one."""
    first, second = _one_column(before), _one_column(after)
    if first is None or second is None or len(first) != len(second):
        return None
    return _by_row(first, second) or _by_count(first, second)


def _one_column(y: Any) -> Array | None:
    y = to_array(y)
    if y.ndim == 2 and y.shape[1] > 1:
        return np.asarray(y.argmax(1))
    return y.reshape(-1) if y.ndim <= 2 else None


def _by_row(first: Array, second: Array) -> dict[Any, Any] | None:
    table = pd.crosstab(pd.Series(first), pd.Series(second))
    counts = table.to_numpy()
    if not counts.size or (counts.max(1) < 0.99 * counts.sum(1)).any():
        return None
    return {key: table.columns[column] for key, column in zip(table.index, counts.argmax(1), strict=True)}


def _by_count(first: Array, second: Array) -> dict[Any, Any] | None:
    before, after = pd.Series(first).value_counts(), pd.Series(second).value_counts()
    if len(before) < 2 or sorted(before) != sorted(after) or before.duplicated().any():
        return None
    return {key: after.index[after == count][0] for key, count in before.items()}
