"""Labels that a task can't be learnt from.

They are of another kind, infinite or too large, without any variety, or numbers taken for classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from firstfault.check import Judgement, check, passed, skipped
from firstfault.checks.data._cut_labels import TOLD_AS_CUT, cut
from firstfault.checks.data._label_numbers import continuous, numbers_of, truths
from firstfault.data.splits import to_array
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.subject import Subject

Array = np.ndarray[Any, Any]

LARGEST = float(np.finfo(np.float32).max)
MOST_LABELS = 20  # in a row: of more than that, some may be rare enough to be empty
CLASSES, CLASS_ROWS = 50, 5  # texts of so few kinds, or of so many rows each, are names of classes
FEWEST_ROWS = 10  # of a split: equal labels of fewer say nothing of how it was drawn
WEIGHT = 0.92  # beyond `PROOF`: what labels are is read off them, and no swap need tell


class Defect(NamedTuple):
    """What is wrong with labels, the fault that it is evidence for (none for what does no harm), and the remedy."""

    message: str
    fault: str
    fix: str


@check(
    layer=Layer.DATA,
    needs={"raw"},
    detects={"missing_values": WEIGHT, "out_of_range": WEIGHT, "type_change": WEIGHT, "task_mismatch": WEIGHT},
)
def unusable_labels(subject: Subject) -> Iterator[Judgement]:
    """Find labels that are infinite, too large for float32, or of another kind than the task takes.

    Measures: how many labels are infinite, beyond float32, texts, dates or durations. A regression takes numbers,
        several yes-or-no labels take 0 to 1.
    Fails when: any is.
    Warns when: they are numbers kept as text, which are read as numbers, or what `prepare` mends.
    Not a fault when: labels are missing, which `missing_values` tells.
    Source: IEEE 754: the largest float32 is 3.4e38; infinities are read as TheDeepChecker reads non-finite inputs.
    """
    found = [judgement for name, _ in subject.raw.items() for judgement in _of_split(subject, name)]
    failed = [judgement for judgement in found if judgement.status is Status.FAIL]
    yield (failed or found or [passed("every label is of the kind that the task takes", value=0)])[0]


def _of_split(subject: Subject, name: str) -> Iterator[Judgement]:
    task, y = subject.target.task, to_array(getattr(subject.raw, name).y)
    defect, count = _defect(y, task)
    if defect is None:
        return
    mended = subject.target.prepare is not None and _defect(_prepared(subject, name), task)[0] is None
    harmless = mended or not defect.fault
    yield Judgement(
        Status.WARN if harmless else Status.FAIL,
        f"{count} of the {y.size} labels of {name} {defect.message}" + (", which prepare mends" if mended else ""),
        value=count,
        threshold=0,
        where=Place.labels(name),
        faults={} if harmless else {defect.fault: WEIGHT},
        fix=defect.fix,
    )


def _prepared(subject: Subject, name: str) -> Array:
    """The labels of a split after `prepare`; as they are where that can't be run."""
    try:
        return to_array(getattr(subject.prepared, name).y)
    except Exception:  # told where preprocessing is examined
        return to_array(getattr(subject.raw, name).y)


def _defect(y: Array, task: str) -> tuple[Defect | None, int]:
    """The worst that is wrong with labels, and with how many of them."""
    known = y[~pd.isna(y)] if y.dtype.kind in "OfcmM" else y.reshape(-1)
    if task in ("regression", "multilabel") and (wrong := _another_kind(known, task)) is not None:
        return wrong
    numbers = numbers_of(known)
    if numbers is None or task == "language_model":
        return None, 0
    infinite = int(np.isinf(numbers).sum())
    if infinite:
        return Defect(
            "are infinite", "missing_values", "drop these rows, or find what divided by zero or overflowed"
        ), infinite
    if task == "classification":
        return None, 0
    large = int((np.abs(numbers) > LARGEST).sum())
    if large:
        return Defect(
            "are too large for float32, where they become infinite",
            "out_of_range",
            "take another unit, or their logarithm",
        ), large
    outside = int(((numbers < 0) | (numbers > 1)).sum()) if task == "multilabel" else 0
    if outside:
        return Defect(
            "are not between 0 and 1, and the task is multilabel",
            "task_mismatch",
            'make a column of 0 and 1 per label, or declare task="regression"',
        ), outside
    if known.dtype.kind in "OUS" and isinstance(known.reshape(-1)[0], str | bytes):
        return Defect("are numbers, but kept as text", "", "read them as numbers"), len(known)
    return None, 0


def _another_kind(known: Array, task: str) -> tuple[Defect, int] | None:
    """Labels of which a number can't be made, or that are no amounts."""
    if known.dtype.kind in "mMc" or (len(known) and pd.api.types.infer_dtype(known).startswith(("date", "time"))):
        what = {"M": "dates", "m": "durations", "c": "complex numbers"}.get(known.dtype.kind, "dates or durations")
        return Defect(
            f"are {what}, and the task takes numbers", "type_change", "make numbers of them, such as days since a day"
        ), len(known)
    if task == "regression" and len(known) and pd.api.types.infer_dtype(known) == "boolean":
        return Defect(
            "are yes or no, and the task is regression",
            "",
            'declare task="classification", unless a share is what is wanted',
        ), len(known)
    if known.dtype.kind not in "OUS":
        return None
    unread = pd.to_numeric(pd.Series(known).astype(str), errors="coerce").isna().to_numpy() & ~truths(known)
    if not unread.any():
        return None
    words, count = pd.Series(known[unread]), int(unread.sum())
    told = f"are no numbers, such as {str(words.iloc[0])[:40]!r}, and the task takes numbers"
    if count == len(known) and words.nunique() <= max(CLASSES, len(known) // CLASS_ROWS):
        return Defect(told, "task_mismatch", 'declare task="classification", or make numbers of them'), count
    return Defect(told, "type_change", "read them as numbers, and drop or correct what is none"), count


@check(layer=Layer.DATA, needs={"raw"}, detects={"random_labels": 0.95, "missing_class": 0.95, "degenerate_split": 0.9})
def constant_labels(subject: Subject, *, chance: float = 1e-6) -> Iterator[Judgement]:
    """Find numbers or yes-or-no labels that are the same in all rows.

    Measures: how many columns of labels are the same for every row of a split.
    Fails when: one of train is, of which nothing can be learnt; or one of another split of at least 10 rows is, where a
        random split would come out so by less than `chance`: a degenerate split.
    Warns when: there are more than 20 labels, or inputs that are to be restored, of which some may be constant.
    Not a fault when: they are classes, at which `missing_class` looks.
    Source: TheDeepChecker, labels without variance; `chance` is a choice of ours, and
        tests/checks/data/test_label_values.py holds the cases that it separates.
    """
    columns = {name: _columns(subject, name) for name, _ in subject.raw.items()}
    train = columns["train"]
    if train is None or len(train) < 2:
        yield skipped("only numbers and yes-or-no labels of several rows are looked at")
        return
    if cut(subject)[0]:
        yield skipped(TOLD_AS_CUT)
        return
    same = [at for at in range(train.shape[1]) if _is_constant(train[:, at])]
    if same and not _meant(subject, train, same):
        fault = "missing_class" if subject.target.task == "multilabel" else "random_labels"
        yield Judgement(
            Status.FAIL,
            f"{_told(subject, 'train', train, same)}: there is nothing to learn",
            value=len(same),
            threshold=0,
            where=Place.labels("train"),
            faults={fault: 0.95},
            fix="look at the query, and at how labels were joined to inputs",
        )
        return
    for name in ("validation", "test"):
        held = columns[name]
        odd = (
            []
            if held is None or held.shape[1] != train.shape[1]
            else [at for at in range(train.shape[1]) if _is_odd(train[:, at], held[:, at], chance)]
        )
        if held is not None and odd and not _meant(subject, train, odd):
            yield Judgement(
                Status.FAIL,
                f"{_told(subject, name, held, odd)}, but not in every row of train",
                value=len(odd),
                threshold=0,
                where=Place.labels(name),
                faults={"degenerate_split": 0.9},
                fix="split at random",
            )
            return
    if same:
        yield Judgement(
            Status.WARN,
            _told(subject, "train", train, same),
            value=len(same),
            threshold=0,
            where=Place.labels("train"),
            faults={},
            fix="drop them, or find out what emptied them",
        )
        return
    yield passed("the labels vary", value=0)


def _columns(subject: Subject, name: str) -> Array | None:
    """The labels of a split as finite numbers `(N, K)`, after `prepare` where that is declared.

    None for classes, and for what is told elsewhere.
    """
    if subject.target.task not in ("regression", "multilabel"):
        return None
    y = _prepared(subject, name) if subject.target.prepare is not None else to_array(getattr(subject.raw, name).y)
    numbers = numbers_of(y)
    if numbers is None or not numbers.size or not np.isfinite(numbers[~np.isnan(numbers)]).all():
        return None
    return numbers.reshape(len(numbers), -1) if numbers.ndim <= 2 else numbers.reshape(-1, 1)


def _is_constant(values: Array) -> bool:
    known = values[~np.isnan(values)]
    return len(known) > 1 and bool((known == known[0]).all())


def _is_odd(train: Array, held: Array, chance: float) -> bool:
    """Whether labels are constant that, drawn from those of train, would hardly be."""
    if len(held) < FEWEST_ROWS or not _is_constant(held) or _is_constant(train):
        return False
    return bool(float((train == held[~np.isnan(held)][0]).mean()) ** len(held) < chance)


def _meant(subject: Subject, train: Array, same: list[int]) -> bool:
    """Whether some constant labels among many, or among inputs to be restored, are no fault."""
    restored = np.shape(subject.raw.train.X) == np.shape(subject.raw.train.y) or train.shape[1] > MOST_LABELS
    return restored and len(same) < train.shape[1]


def _told(subject: Subject, split: str, y: Array, places: list[int]) -> str:
    """Which labels of a split are the same in every row, and what the first of them is."""
    value = y[~np.isnan(y[:, places[0]]), places[0]][0]
    if y.shape[1] == 1:
        return f"the label is {value:.6g} in every row of {split}"
    names = subject.data.label
    named = list(names) if isinstance(names, list | tuple) and len(names) == y.shape[1] else range(y.shape[1])
    which = ", ".join(str(named[at]) for at in places[:5])
    return f"{len(places)} of {y.shape[1]} labels are the same in every row of {split}: {which}, as {value:.6g}"


@check(layer=Layer.DATA, needs={"raw"}, detects={"task_mismatch": 0.95})
def continuous_labels(
    subject: Subject, *, distinct: int = 30, share: float = 0.05, whole_share: float = 0.5
) -> Iterator[Judgement]:
    """Find class labels that are amounts: fractions, or spread-out whole numbers, with nearly as many values as rows.

    Measures: the number of distinct labels.
    Fails when: they are fractions, more than `distinct` of them and as many as `share` of the rows (or more than 100);
        or whole numbers, as many as `whole_share` of the rows, and spread over ten times their number.
    Not a fault when: they are ids of many classes, which lie close together.
    Source: scikit-learn, `type_of_target`, which calls such labels continuous; the bounds are a choice of ours, and
        tests/checks/data/test_label_values.py holds the cases that they separate.
    """
    if subject.target.task != "classification":
        yield skipped("the task has no classes")
        return
    count = continuous(to_array(subject.raw.train.y), distinct, share, whole_share)
    if (
        count
        and subject.target.prepare is not None
        and not continuous(_prepared(subject, "train"), distinct, share, whole_share)
    ):
        count = 0
    if not count:
        yield passed("the labels are classes")
        return
    yield Judgement(
        Status.FAIL,
        f"the {len(subject.raw.train.y)} labels of train are {count} different numbers, and the task is classification",
        value=count,
        threshold=distinct,
        where=Place.labels("train"),
        fix='declare task="regression" with one output and a loss for numbers, or make classes of them by bins',
    )
