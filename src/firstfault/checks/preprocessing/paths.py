"""Does every split take the same path? Metamorphic tests: the preparation runs again on changed splits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from firstfault.check import Judgement, check, judge, passed, skipped
from firstfault.checks.preprocessing._fitted_before import fitted_on_all
from firstfault.data.splits import Split, Splits, to_array
from firstfault.errors import UserCodeError
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.rerun import (
    Apart,
    apart,
    apart_by_row,
    flat,
    joined,
    reference_run,
    rerun,
    rows_change_split,
    rows_of,
    score,
    unmatched,
)
from firstfault.subject.subject import Subject
from firstfault.training.preprocessing import Pipeline, prepare

CODES = 20  # distinct whole numbers up to which a column may be of codes, and is left as it is


@check(layer=Layer.PREPROCESSING, needs={"pipeline"}, detects={"nondeterministic_transform": 0.92})
def nondeterministic_transform(subject: Subject, *, share: float = 0.01, size: float = 0.02) -> Iterator[Judgement]:
    """Find preparation that gives two results for one input.

    Measures: the share of values that differ when everything is prepared once more from the same raw data, of the worst
        split.
    Fails when: in validation or test more than `share` of the values differ, by more than `size` deviations on average.
    Warns when: training values alone differ (augmentation), or the preparation runs only once.
    Not a fault when: rows come in another order, or in another split: they are the same rows.
    Source: a choice of ours: 0.02 deviations change a score by less than another seed does;
        tests/checks/preprocessing/test_paths.py holds the cases that it separates.
    """
    try:
        twin = prepare(subject.target, subject.raw)
    except UserCodeError as error:
        yield Judgement(
            Status.WARN,
            f"the preparation runs once only: {error}",
            where=_last_step(subject),
            faults={},
            fix="let the preparation be called twice",
        )
        return
    found = _twice(subject.prepared, twin.prepared)
    if any(_material(entry, share, size) for entry in found.values()) and _same_rows(subject.prepared, twin.prepared):
        found = {name: Apart(0.0, 0.0) for name in found}
    worst = max(found, key=lambda name: found[name].share)
    held_out = any(_material(found[name], share, size) for name in ("validation", "test"))
    status = Status.FAIL if held_out else Status.WARN if _material(found["train"], share, size) else Status.PASS
    yield Judgement(
        status,
        f"{found[worst].share:.1%} of the values of {worst} differ when the same data are prepared twice",
        value=found[worst].share,
        threshold=share,
        where=_first_random(subject, twin, share, size) if status is not Status.PASS else None,
        fix="seed the step, or move the randomness into training.augment" if status is not Status.PASS else None,
    )


def _twice(first: Splits, second: Splits) -> dict[str, Apart]:
    return {name: apart(a.X, b.X) for (name, a), (_, b) in zip(first.items(), second.items(), strict=True)}


def _first_random(subject: Subject, twin: Pipeline, share: float, size: float) -> Place:
    """The first step after which two preparations of the same data differ."""
    for first, second in zip(subject.pipeline.stages[1:], twin.stages[1:], strict=True):
        if any(_material(entry, share, size) for entry in _twice(first.splits, second.splits).values()):
            return Place.stage(first.name)
    return _last_step(subject)


def _material(entry: Apart, share: float, size: float) -> bool:
    return entry.share > share and entry.size > size


def _same_rows(first: Splits, second: Splits) -> bool:
    """Whether a preparation that deals the rows out anew left the same rows, in whichever split."""
    a, b = (joined(*(split for _, split in splits.items())) for splits in (first, second))
    return apart(a.X, b.X).share < 0.05


def _last_step(subject: Subject, split: str | None = None) -> Place:
    return Place.stage(subject.pipeline.stages[-1].name, split)


@check(layer=Layer.PREPROCESSING, needs={"pipeline"}, detects={"fit_on_all_data": 0.95})
def fit_on_all_data(subject: Subject, *, share: float = 0.001) -> Iterator[Judgement]:
    """Find preparation that learns from held-out rows.

    Measures: the share of prepared training values that change when only the held-out rows do: numeric columns of
        validation and test are stretched and moved, and their labels mixed.
    Of steps that firstfault fits itself: whether one came fitted, and its columns have a mean of 0 over train and
        held-out rows, as they had not before, and as train alone has not.
    Fails when: the share is above `share`, or a step is such.
    Not a fault when: the preparation differs from run to run, or refuses such rows: nothing is judged.
    Source: Kapoor & Narayanan 2023, preprocessing on train and test; benchmarks/localise.py, fault fit_on_all_data. A
        metamorphic test: a preparation that is fitted on train alone changes no value.
    """
    if subject.target.prepare is None:
        yield _of_steps(fitted_on_all(subject))
        return
    before = reference_run(subject)
    if before is None or rows_change_split(subject):
        yield skipped("the preparation cannot be run again, or deals the rows out to the splits anew")
        return
    value = _effect_of_held_out(subject, before)
    if value is None:
        yield skipped("the preparation refuses strange held-out rows")
        return
    if value > share and _unstable(subject, before):
        yield skipped("the preparation differs from run to run")
        return
    yield judge(
        value,
        above=share,
        where=_last_step(subject),
        message=f"{value:.0%} of the prepared training values change when only the held-out rows do",
        fix="fit on train only, then transform the rest",
    )


def _of_steps(names: list[str]) -> Judgement:
    if not names:
        return passed("firstfault fits every step on train alone")
    return Judgement(
        Status.FAIL,
        f"{names[0]} comes fitted on the rows of train and of held-out splits: "
        "over all of them its columns are centred",
        where=Place.stage(names[0]),
        fix="hand the step over unfitted, or fit it on the training rows only",
    )


def _effect_of_held_out(subject: Subject, before: Splits) -> float | None:
    """The share of training values that change with the held-out rows; None where no change of them is taken."""
    for change in (_stretched, _one_sided):
        raw = subject.raw
        again = rerun(subject, Splits(raw.train, change(raw.validation), change(raw.test)))
        if again is None:
            continue
        after = again.prepared.train.X
        if flat(before.train.X).shape[1] == flat(after).shape[1]:  # new columns: only categories were fitted on all
            return apart(before.train.X, after).share
    return None


def _unstable(subject: Subject, before: Splits) -> bool:
    again = rerun(subject, subject.raw)
    return again is None or apart(before.train.X, again.prepared.train.X).share > 0


def _stretched(split: Split) -> Split:
    """Numeric columns stretched and moved, labels mixed; columns of few whole numbers stay, as they may be codes."""
    y = to_array(split.y)[np.random.default_rng(0).permutation(len(split.y))]
    if not isinstance(split.X, pd.DataFrame):
        return Split(_stretch(to_array(split.X)), y)
    X = split.X.copy()
    for column in X.select_dtypes(include=["number"]).columns:
        if X[column].dtype.kind not in "iu" or X[column].nunique() > CODES:
            X[column] = _stretch(X[column].to_numpy())
    return Split(X, y)


def _stretch(values: Any) -> Any:
    if values.dtype.kind == "u":
        return np.iinfo(values.dtype).max - values // 2
    return (values * 10 + 5).astype(values.dtype) if values.dtype.kind in "fi" else values


def _one_sided(split: Split) -> Split:
    """The upper half of the rows, twice: every value is one that occurs."""
    order = np.argsort(score(split.X))
    upper = np.resize(order[len(order) // 2 :], len(order))
    return _at(split, upper)


def _at(split: Split, rows: Any) -> Split:
    return Split(rows_of(split.X, rows), to_array(split.y)[rows])


@check(
    layer=Layer.PREPROCESSING,
    needs={"pipeline"},
    detects={"inconsistent_transform": 0.95, "batch_dependent_transform": 0.92},
)
def inconsistent_transform(subject: Subject, *, share: float = 0.01, size: float = 0.1) -> Iterator[Judgement]:
    """Find splits that are prepared differently: training rows sent down another path must come out the same.

    Measures: the share of values that differ. Rows of the upper half of train take the places of validation, then of
        test, so that a step that is fitted per split shows.
    Fails when: the share is above `share`, and a column moves by more than `size` of its deviations. Values that change
        with a row's neighbours are `batch_dependent_transform`.
    Warns when: columns move by less, or equal rows of train itself differ (augmentation, out-of-fold encodings).
    Source: benchmarks/localise.py, fault inconsistent_transform, scales train alone. The test is metamorphic, and its
        bounds are a choice of ours; tests/checks/preprocessing/test_paths.py holds the cases that they separate.
    """
    if subject.target.prepare is None:
        yield passed("firstfault applies the same fitted steps to every split")
        return
    if rows_change_split(subject):
        yield skipped("the preparation deals the rows out to the splits anew")
        return
    found = _between_paths(subject)
    if found is None:
        yield skipped("the preparation refuses training rows in place of held-out ones")
        return
    worst = max(found, key=lambda name: found[name].size if found[name].share > share else 0.0)
    value = found[worst]
    if value.share <= share:
        yield passed("training rows come out of every path alike", value=value.share)
        return
    fault, status = "inconsistent_transform", Status.FAIL if value.size > size else Status.WARN
    if status is Status.FAIL and _depends_on_company(subject, size):
        fault = "batch_dependent_transform"
    elif status is Status.FAIL and _random_per_row(subject):
        status = Status.WARN
    yield Judgement(
        status,
        f"{value.share:.0%} of the values of the same rows differ between the paths of train and {worst}",
        value=value.share,
        threshold=share,
        where=_last_step(subject, worst),
        fix="apply the same steps, fitted on train, to every split",
        faults={fault: 0.95},
    )


def _between_paths(subject: Subject) -> dict[str, Apart] | None:
    raw = subject.raw
    upper = np.argsort(score(raw.train.X))[len(raw.train.y) // 2 :]
    for pool in (upper, np.arange(len(raw.train.y))):
        rows = {name: np.resize(pool, len(split.y)) for name, split in raw.items() if name != "train"}
        copies = {name: _at(raw.train, index) for name, index in rows.items()}
        again = rerun(subject, Splits(raw.train, copies["validation"], copies["test"]))
        if again is not None:
            break
    else:
        return None
    out = dict(again.prepared.items())
    return {name: _against_train(out["train"].X, out[name].X, rows[name], len(raw.train.y)) for name in rows}


def _against_train(train: Any, other: Any, rows: Any, n: int) -> Apart:
    own, theirs = flat(train), flat(other)
    if own.shape[1] != theirs.shape[1]:
        return Apart(1.0, float("inf"))
    if len(own) == n and len(theirs) == len(rows):
        aligned = apart_by_row(own[rows], theirs)
        return aligned if aligned.share >= 1e-4 and apart(own, theirs).share > 0.05 else Apart(0.0, 0.0)
    loose = apart(own, theirs)
    # some rows were dropped on one path; half of train is sent down the other
    return loose if loose.share > 0.75 else Apart(0.0, 0.0)


def _random_per_row(subject: Subject) -> bool:
    """Whether two copies of one training row come out of the train path differently."""
    raw = subject.raw
    again = rerun(subject, Splits(joined(raw.train, raw.train), raw.validation, raw.test))
    if again is None:
        return False
    values, n = flat(again.prepared.train.X), len(raw.train.y)
    return len(values) == 2 * n and apart(values[:n], values[n:]).size > 0.01


def _depends_on_company(subject: Subject, size: float) -> bool:
    """Whether validation rows that stay in place come out with other values when their neighbours change places.

    Only every other row of the second half changes places: codes given by first appearance and noise drawn by
    position stay as they are.
    """
    raw, before = subject.raw, reference_run(subject)
    n = len(raw.validation.y)
    order = np.arange(n)
    moving = order[n // 2 :][::2]
    order[moving] = np.random.default_rng(0).permutation(moving)
    again = rerun(subject, Splits(raw.train, _at(raw.validation, order), raw.test))
    if before is None or again is None:
        return False
    first, second = flat(before.validation.X), flat(again.prepared.validation.X)
    if first.shape != second.shape or len(first) != n or unmatched(first, second) < 0.35:
        return False
    still = order[n // 2 :][1::2]
    return apart_by_row(first[still], second[still]).size > size
