"""What the prepared values look like: finite, of the right type, still informative, and as many as there were."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from firstfault.check import Judgement, check, judge, passed
from firstfault.checks.data._unusable_inputs import taken
from firstfault.checks.preprocessing._needed_type import needed_type
from firstfault.data.splits import Split, to_array
from firstfault.finding import Layer, Status
from firstfault.output.whole_files import write_json
from firstfault.place import Place
from firstfault.subject.rerun import flat
from firstfault.subject.subject import Subject
from firstfault.texts import hashable
from firstfault.training.stages import numbers, stage_table

Array = np.ndarray[Any, Any]
SEEN_ROWS = 5_000  # whether all of them are whole numbers tells a step that cuts
WHOLE_TYPES = tuple(np.dtype(name) for name in ("uint8", "int8", "int16", "int32", "int64"))
LARGEST_FLOAT32 = float(np.finfo(np.float32).max)


@check(layer=Layer.PREPROCESSING, needs={"pipeline"}, detects={"information_loss": 0.3})
def stage_statistics(subject: Subject) -> Iterator[Judgement]:
    """Measure every stage of the preprocessing, as `stages.json`.

    Measures: the number of stages.
    Fails when: never. It judges nothing.
    Source: Amazon SageMaker Debugger, which saves such reductions of tensors (least, greatest, mean, deviation).
    """
    rows = stage_table(subject.pipeline)
    write_json(subject.folder / "stages.json", rows)
    stages = len(subject.pipeline.stages)
    yield Judgement(Status.PASS, f"{stages} stages measured on 3 splits", value=stages, artifacts=("stages.json",))


@check(layer=Layer.PREPROCESSING, needs={"pipeline"}, detects={"nonfinite_output": 0.95})
def nonfinite_output(subject: Subject) -> Iterator[Judgement]:
    """Find the first step in which finite rows become NaN or infinite.

    Measures: the number of such rows of a split. Values that float32 cannot hold are infinite.
    Fails when: there is one.
    Not a fault when: rows had missing values before the step; or a later step replaces them; or one code a column
        ("?", −999) became a missing value, which the model takes.
    Source: Amazon SageMaker Debugger, Tensor rules; the first step is looked for, as the cause lies there.
        benchmarks/localise.py, fault nonfinite_output, takes the logarithm of negative values.
    """
    stages = subject.pipeline.stages
    arrive = {name: _unusable(split.X, LARGEST_FLOAT32).any() for name, split in stages[-1].splits.items()}
    for before, after in itertools.pairwise(stages):
        for (name, source), (_, result) in zip(before.splits.items(), after.splits.items(), strict=True):
            born = _born(_unusable(source.X), _unusable(result.X, LARGEST_FLOAT32)) if arrive[name] else 0
            if born and not (_were_codes(source.X, result.X) and taken(subject, name)):
                yield Judgement(
                    Status.FAIL,
                    f"{after.name} makes {born} rows of {name} NaN or infinite that were finite before",
                    value=born,
                    threshold=0,
                    where=Place.stage(after.name, name, _columns_with_nan(result.X)),
                    fix="guard the logarithm or division in this step",
                )
                return
    yield passed(f"{len(stages) - 1} steps keep finite values finite")


def _were_codes(before: Any, after: Any) -> bool:
    """Whether what became missing was one value of each column."""
    if not all(isinstance(X, pd.DataFrame) for X in (before, after)) or len(before) != len(after):
        return False
    gone = [before[name][after[name].isna().to_numpy()] for name in after.columns if name in before.columns]
    return all(hashable(values.dropna()).nunique() <= 1 for values in gone)


def _unusable(X: Any, limit: float = np.inf) -> Array:
    """Which rows `(N,)` hold a missing, infinite or too large value."""
    if isinstance(X, pd.DataFrame):
        text: Any = X.select_dtypes(exclude=["number", "bool"]).isna().any(axis=1).to_numpy()
    else:
        array = to_array(X)
        text = pd.isna(array).reshape(len(array), -1).any(1) if array.dtype.kind == "O" else np.zeros(len(array), bool)
    values = numbers(X).reshape(len(text), -1)
    return np.asarray(text | ~(np.abs(values) <= limit).all(1) | ~np.isfinite(values).all(1))


def _born(before: Array, after: Array) -> int:
    if len(before) == len(after) and not before[after].all() and before.sum() == (before & after).sum():
        return int((after & ~before).sum())
    return max(0, int(after.sum()) - int(before.sum()))


def _columns_with_nan(X: Any) -> str | None:
    if not isinstance(X, pd.DataFrame):
        return None
    numeric = X.select_dtypes(include=["number"])
    names = numeric.columns[~np.isfinite(numeric.to_numpy(dtype=float, na_value=np.nan)).all(0)]
    return f"column {', '.join(str(name) for name in names[:3])}" if len(names) else None


@check(layer=Layer.PREPROCESSING, needs={"pipeline"}, detects={"row_loss": 0.92})
def row_loss(subject: Subject, *, lost: float = 0.2) -> Iterator[Judgement]:
    """Find rows that are lost on the way.

    Measures: the largest lost share of a split.
    Fails when: the share is above `lost`, or inputs are lost without their labels, at any number.
    Warns when: fewer are lost.
    Not a fault when: what was dropped are duplicates, or rows of common classes to balance them: that is meant, and
        warns; or rows only moved between splits.
    Source: a choice of ours: dropping a few rows with missing values is common and harmless;
        tests/checks/preprocessing/test_values.py holds the cases that it separates.
    """
    raw = subject.raw
    worst, place, meant = 0.0, None, False
    for stage in subject.pipeline.stages[1:]:
        for (name, before), (_, after) in zip(raw.items(), stage.splits.items(), strict=True):
            count, labels = len(flat(after.X)), len(to_array(after.y))
            if count != labels:
                yield Judgement(
                    Status.FAIL,
                    f"{stage.name} leaves {count} inputs for {labels} labels of {name}",
                    value=count,
                    threshold=labels,
                    where=Place.stage(stage.name, name),
                    fix="drop rows with their labels, or impute",
                )
                return
            share = 1 - count / max(1, len(before.y))
            if share > worst:
                worst, place, meant = share, Place.stage(stage.name, name), _meant(before, after)
    if worst and _nothing_lost(subject):
        yield passed("the preparation moves rows between splits, and loses none")
        return
    status = Status.PASS if worst == 0 else Status.FAIL if worst > lost and not meant else Status.WARN
    yield Judgement(
        status,
        f"{worst:.1%} of the rows are lost on the way",
        value=worst,
        threshold=lost,
        where=place,
        fix="impute instead of dropping" if worst else None,
    )


def _nothing_lost(subject: Subject) -> bool:
    first, last = (joined.items() for joined in (subject.raw, subject.prepared))
    return sum(len(to_array(split.y)) for _, split in last) >= sum(len(split.y) for _, split in first)


def _meant(before: Split, after: Split) -> bool:
    """Whether the lost rows were duplicates, or classes came out more even."""
    X = before.X if isinstance(before.X, pd.DataFrame) else pd.DataFrame(to_array(before.X).reshape(len(before.y), -1))
    if len(after.y) >= len(X.apply(hashable).drop_duplicates()):
        return True
    first, second = (pd.Series(list(map(str, to_array(split.y)))).value_counts() for split in (before, after))
    few = 1 < len(first) <= 100 and len(first) == len(second)
    return bool(few and first.max() / first.min() > 1.5 * second.max() / second.min())


@check(layer=Layer.PREPROCESSING, needs={"pipeline"}, detects={"information_loss": 0.9})
def information_loss(subject: Subject, *, constant: float = 0.5) -> Iterator[Judgement]:
    """Find steps that make inputs constant.

    Measures: the share of the varying columns that end constant, of the first such step.
    Fails when: the share is above `constant`, or all rows become the same. Values cut to whole numbers are
        `wrong_dtype`.
    Warns when: single columns become constant: a suspicion that a swap has to confirm.
    Source: a choice of ours; tests/checks/preprocessing/test_values.py holds the cases that it separates.
    """
    stages = subject.pipeline.stages
    for before, after in itertools.pairwise(stages):
        first, second = flat(before.splits.train.X), flat(after.splits.train.X)
        cut = _is_cut(first, second, after.splits.train.X)
        gone = _became_constant(first, second)
        share = float(gone.mean()) if gone is not None and len(gone) else 0.0
        if share > constant or (_all_equal(second) and not _all_equal(first)):
            yield Judgement(
                Status.FAIL,
                f"{after.name} makes {max(share, 0.0):.0%} of the columns constant",
                value=share,
                threshold=constant,
                where=Place.stage(after.name),
                fix="repair the step that collapses them",
                faults={"wrong_dtype" if cut else "information_loss": 0.92},
            )
            return
        if gone is not None and share > 0 and not cut:
            yield Judgement(
                Status.WARN,
                f"{after.name} makes {int(gone.sum())} columns constant",
                value=share,
                threshold=constant,
                where=Place.stage(after.name),
                fix="repair the step that collapses them",
                faults={"information_loss": 0.45},
            )
            return
    yield passed("no step makes a column constant")


def _became_constant(first: Array, second: Array) -> Array | None:
    """Which varying columns end constant; None when columns before and after cannot be matched."""
    if first.shape[1] != second.shape[1] or not len(first) or not len(second):
        return None
    varied = np.nanmax(first, 0, initial=-np.inf) > np.nanmin(first, 0, initial=np.inf)
    varied &= (np.abs(first - first[:1]) > 0).mean(0) > 0.01  # a rare value may be clipped
    still = np.nanmax(second, 0, initial=-np.inf) > np.nanmin(second, 0, initial=np.inf)
    return np.asarray(~still[varied])


def _all_equal(values: Array) -> bool:
    return bool(len(values) > 1 and values.size and (values == values[:1]).all())


def _is_cut(first: Array, second: Array, X: Any) -> bool:
    """Whether a result is its source cut to whole numbers, or holds whole numbers by type."""
    return getattr(X, "dtype", np.dtype(float)) in WHOLE_TYPES or _error_of_cutting(first, second) is not None


@check(layer=Layer.PREPROCESSING, needs={"pipeline"}, detects={"wrong_dtype": 0.75})
def wrong_dtype(subject: Subject, *, error: float = 0.3) -> Iterator[Judgement]:
    """Find inputs of a type that the model cannot use: fractions cut off, or floats for an embedding.

    Measures: how far a step that cuts fractions to whole numbers moves values, as a root mean square in deviations.
    Fails when: the move is above `error`: rounding ages does no harm, cutting values of 0–1 does. A model that takes
        the inputs only after a change of type, or looks up ids and cuts the fractions of its inputs off, is proof.
    Source: Humbatova et al. 2020, wrong type of the input data. The bound is a choice of ours;
        tests/checks/preprocessing/test_values.py holds the cases that it separates.
    """
    for before, after in itertools.pairwise(subject.pipeline.stages):
        first, second = (flat(stage.splits.train.X)[:SEEN_ROWS] for stage in (before, after))
        value = _error_of_cutting(first, second)
        if value is not None and value > error:
            yield judge(
                value,
                above=error,
                where=Place.stage(after.name),
                fix="keep the inputs in float32",
                message=f"{after.name} cuts fractions off, and so moves values by {value:.2g} deviations",
            )
            return
    needed = needed_type(subject)
    if needed:
        yield Judgement(
            Status.FAIL,
            f"the model takes the prepared inputs only as {needed}",
            faults={"wrong_dtype": 0.92},
            where=_first_of_floats(subject),
            fix=f"convert the inputs to {needed}",
        )
    else:
        yield passed("the model can take the type of the inputs")


def _error_of_cutting(first: Array, second: Array) -> float | None:
    """How far cutting values, also over their maximum, to whole numbers moved them; None if that was not done."""
    if first.shape != second.shape or not first.size or (np.nan_to_num(second) % 1 != 0).any():
        return None
    first, second = np.nan_to_num(first), np.nan_to_num(second)
    if not (first % 1 != 0).any() or np.abs(second - first).max() > 1:
        first = first / max(float(np.abs(first).max()), 1.0)
        if not (second == np.floor(first)).all():
            return None
    deviation = float(first.std())
    return float(np.sqrt(((second - first) ** 2).mean())) / deviation if deviation else None


def _first_of_floats(subject: Subject) -> Place:
    """The first step after which whole numbers are floats."""
    for before, after in itertools.pairwise(subject.pipeline.stages):
        kinds = [np.asarray(to_array(stage.splits.train.X)).dtype.kind for stage in (before, after)]
        if kinds[0] in "iu" and kinds[1] == "f":
            return Place.stage(after.name)
    return Place.stage(subject.pipeline.stages[-1].name)
