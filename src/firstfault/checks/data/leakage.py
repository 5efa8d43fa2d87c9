"""Single columns that give the label away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from firstfault.check import Judgement, check, passed, skipped
from firstfault.checks.data._leak_sample import (
    FEWEST_OF_CLASS,
    FEWEST_ROWS,
    Sample,
    column_of,
    column_scores,
    leak_sample,
    numbers_of,
    place_of,
    readings,
    score_of,
    tree_score,
)
from firstfault.checks.data._made_from_label import beside_label, is_summand, lies_apart, related, stands_alone
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.subject import Subject

Array = np.ndarray[Any, Any]

MOST_FITTED = 1_000  # rows that the forest over all other columns is fitted on: bounds its time
SLIGHT = 0.02  # the errors of all others together, from which a column that depends on none of them is too good


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
        number, or filled in one class only; or it is the label under noise: given the label it depends on no other
        column, while a third of them do on each other, and of classes it also lies 4 deviations apart, 1.3 times as far
        as any other, or leaves `times_surer` times fewer errors than all others, which leave 2 %; or it is missing in
        one class only, and in `gives_away` of it.
    Warns when: a column's missing values all lie in one class: at least 30, which chance explains with less than 10⁻⁶;
        or the best column reaches `ordinary`, depends on no other given the label, and a forest over all others leaves
        `times_surer` times its errors: a measurement of what the label tells looks alike.
    Not a fault when: several columns are strong, as in data that are easily separable (iris); or what a column holds
        beside an amount is mostly in the others: it is one of the parts that make it up.
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
    best, told = scores[ranked[0]], f"{ranked[0]} alone predicts the label best, with {scores[ranked[0]]:.3f}"
    if best < ordinary or not _says_nothing_else(sample, ranked[0], best, left_open, times_surer):
        yield passed(told, value=best)
        return
    yield Judgement(
        Status.WARN,
        f"{told}, and all others together leave more than {times_surer:g} times its errors",
        value=best,
        threshold=ordinary,
        where=Place.columns(ranked[0]),
        faults={"target_leakage": 0.4},
        fix="find out whether it is known at prediction time",
    )


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
    if leaks and not sample.classes:
        leaks = _without_summands(sample, leaks)
    if not leaks or len(leaks) > max(1, len(ranked) // 4):
        return []
    best_of_rest = max((scores[name] for name in ranked if name not in leaks), default=0.0)
    codes = [name for name in leaks if _is_code(sample, name, gives_away, narrow)]
    codes = codes or _labels_under_noise(sample, leaks, scores, times_surer)
    if codes or best_of_rest >= ordinary:
        return codes
    return leaks if says_more(sample, leaks, scores[leaks[0]], left_open, times_surer) else []


def _says_nothing_else(sample: Sample, name: str, score: float, left_open: float, times_surer: float) -> bool:
    left = beside_label(numbers_of(sample), sample.target, sample.classes)
    return not related(left)[place_of(sample, name)].any() and says_more(sample, [name], score, left_open, times_surer)


def _without_summands(sample: Sample, names: list[str]) -> list[str]:
    left = beside_label(numbers_of(sample), sample.target, sample.classes)
    return [name for name in names if not is_summand(left, place_of(sample, name))]


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
            tree_score(values, sample) >= gives_away
            and (_one_per_class(values, sample) or (number and _narrow(values, sample, narrow)))
        )
        or _one_class_only(values, sample) >= gives_away
        for values in readings(column, sample)
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

    rest = [place for place, name in enumerate(sample.frame.columns) if str(name) not in leaks]
    if not rest:
        return False
    rows = slice(None, MOST_FITTED)
    X = numbers_of(sample)[rows, rest]
    part = Sample(sample.frame, sample.target[rows], sample.classes)
    if part.classes and np.bincount(part.target).min() < 3:
        return True
    kind = ExtraTreesClassifier if part.classes else ExtraTreesRegressor
    others = score_of(cross_val_predict(kind(60, random_state=0), X, part.target, cv=3), part)
    return 1 - others > max(left_open, times_surer * (1 - score))


def _labels_under_noise(sample: Sample, names: list[str], scores: Mapping[str, float], times_surer: float) -> list[str]:
    """The columns that depend on no other given the label, and say it too well for ones that were measured."""
    values = numbers_of(sample)
    left = beside_label(values, sample.target, sample.classes)
    alone = [name for name in names if stands_alone(left, place_of(sample, name))]
    return [
        name
        for name in alone
        if not sample.classes
        or lies_apart(values, sample.target, place_of(sample, name))
        or says_more(sample, [name], scores[name], SLIGHT, times_surer)
    ]


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
