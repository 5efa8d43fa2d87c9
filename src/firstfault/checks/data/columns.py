"""The shape of the data: what could not be read, columns that differ between tables, constant and mixed columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from firstfault.check import Judgement, check, passed, skipped
from firstfault.data.folders import differences, in_words, listed
from firstfault.data.reading import Reading
from firstfault.data.splits import Split
from firstfault.data.times import times_of
from firstfault.finding import Layer, Status
from firstfault.interrupts import pass_on
from firstfault.place import Kind, Place
from firstfault.subject.subject import Subject

FIRST = 100  # values that must be equal before a whole column is compared: most columns differ at once
NESTED = (list, dict, set, tuple, np.ndarray)


def _readings(subject: Subject) -> dict[str, Reading]:
    readings = dict(subject.get("source").readings)
    if subject.data.reference is not None:
        readings["reference"] = subject.get("reference_reading")
    return readings


@check(layer=Layer.DATA, needs={"raw"}, detects={"noisy_features": 0.92, "schema_change": 0.95})
def broken_files(subject: Subject) -> Iterator[Judgement]:
    """Find what could not be read from the files as it stands.

    Measures: the number of lines or columns that a defect concerns, one finding per defect.
    Fails when: lines have too few or too many fields, an unclosed quote or another encoding (`noisy_features`), or
        files of a folder have other columns than its first (`schema_change`).
    Warns when: a file was read by a guess that fits the whole of it.
    Source: RFC 4180: each line of a CSV file has the same number of fields.
    """
    readings = _readings(subject)
    for name, reading in readings.items():
        for defect in reading.defects:
            known = defect.fault is not None
            yield Judgement(
                Status.FAIL if known else Status.WARN,
                defect.message,
                value=defect.lost,
                threshold=0,
                where=Place(Kind.FILE, (defect.file,), name),
                faults={defect.fault: 0.95 if defect.fault == "schema_change" else 0.92} if defect.fault else {},
                fix=defect.fix,
            )
    if not any(reading.defects for reading in readings.values()):
        notes = [note for reading in readings.values() for note in reading.notes]
        yield passed("; ".join(["every line of the sources was read", *notes]), value=0)


@check(layer=Layer.DATA, needs={"raw"}, detects={"schema_change": 0.95, "type_change": 0.92})
def differing_columns(subject: Subject) -> Iterator[Judgement]:
    """Find columns that are absent, or of another type, in a split or against the reference.

    Measures: the number of columns that differ: of the declared splits against train, and of train against the
        reference.
    Fails when: a column is absent (`schema_change`) or changes between number, time and text (`type_change`), or
        samples have another shape.
    Warns when: there are additional columns only.
    Not a fault when: times are texts in one of both, as in a csv, or have another time zone.
    Source: Breck et al. 2019, Data Validation for Machine Learning: the schema is the first thing to check;
        benchmarks/data_defects.py plants a column of numbers kept as text.
    """
    pairs = list(_compared(subject))
    if not pairs:
        yield skipped("there is one table only: no reference, and no declared split")
        return
    found = [judgement for pair in pairs for judgement in _differences(*pair)]
    yield from found
    if not found:
        yield passed(
            f"the columns agree between {', '.join(sorted({name for pair in pairs for name in pair[:2]}))}", value=0
        )


def _compared(subject: Subject) -> Iterator[tuple[str, str, Split, Split]]:
    """What is held against what: train against the reference, and the declared splits against train."""
    data, raw = subject.data, subject.raw
    if data.reference is not None:
        yield "the reference", "train", subject.reference, raw.train
    for name in data.declared_splits:
        yield "train", name, raw.train, getattr(raw, name)


def _differences(known: str, name: str, first: Split, second: Split) -> Iterator[Judgement]:
    if not isinstance(first.X, pd.DataFrame) or not isinstance(second.X, pd.DataFrame):
        shapes = [np.shape(split.X)[1:] for split in (first, second)]
        if shapes[0] != shapes[1]:
            told = ["×".join(map(str, shape)) or "single values" for shape in shapes]
            yield Judgement(
                Status.FAIL,
                f"samples of {name} are {told[1]}, those of {known} {told[0]}",
                value=1,
                threshold=0,
                where=Place.data(name),
                faults={"schema_change": 0.95},
                fix="bring both to one shape",
            )
        return
    lacks, adds = differences(first.X.columns, second.X.columns)
    if lacks or adds:
        yield Judgement(
            Status.FAIL if lacks else Status.WARN,
            f"{name} has other columns than {known}: {in_words(lacks, adds)}",
            value=len(lacks) + len(adds),
            threshold=0,
            where=Place.columns(*lacks, *adds),
            faults={"schema_change": 0.95} if lacks else {},
            fix="restore the columns",
        )
    types = _changed_types(first.X, second.X)
    if types:
        yield Judgement(
            Status.FAIL,
            f"{len(types)} columns of {name} have another type than in {known}: "
            f"{listed([f'{k} ({v})' for k, v in types.items()])}",
            value=len(types),
            threshold=0,
            where=Place.columns(*types),
            faults={"type_change": 0.92},
            fix="parse the column as the expected type",
        )


def _changed_types(first: pd.DataFrame, second: pd.DataFrame) -> dict[str, str]:
    changed = {}
    for name in first.columns.intersection(second.columns):
        kinds = [_kind(frame[name]) for frame in (first, second)]
        if None not in kinds and kinds[0] != kinds[1] and not _are_times(kinds, first[name], second[name]):
            changed[str(name)] = f"{kinds[1]} instead of {kinds[0]}"
    return changed


def _are_times(kinds: list[str | None], *columns: pd.Series) -> bool:
    """Whether texts stand beside times, and are times: a csv has no other way to write them."""
    if set(kinds) != {"time", "text"}:
        return False
    times = [times_of(column) for column in columns]
    return all(found is not None and found.dated and found.malformed.mean() <= 0.005 for found in times)


def _kind(values: pd.Series) -> str | None:
    """`number`, `time` or `text`; None for what is neither or empty."""
    if pd.api.types.is_numeric_dtype(values.dtype):
        return "number" if values.notna().any() else None
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return "time"
    dtype = values.cat.categories.dtype if isinstance(values.dtype, pd.CategoricalDtype) else values.dtype
    if isinstance(dtype, pd.StringDtype):
        return "text"
    return (
        {"string": "text", "integer": "number", "floating": "number"}.get(_inferred(values))
        if dtype.kind == "O"
        else None
    )


def _inferred(values: pd.Series) -> str:
    return pd.api.types.infer_dtype(values, skipna=True)


@check(layer=Layer.DATA, needs={"raw"}, detects={})
def constant_columns(subject: Subject) -> Iterator[Judgement]:
    """Find columns of train that have no value, or one value only.

    Measures: the number of such columns. They teach a model nothing.
    Warns when: there is one.
    Source: ydata-profiling's alerts `constant` and `empty`.
    """
    frame = subject.raw.train.X
    if not isinstance(frame, pd.DataFrame) or len(frame) < 2:
        yield skipped("only tables of at least two rows are looked at")
        return
    columns = {str(name): values for name, values in frame.items() if _starts_constant(values)}
    empty = [name for name, values in columns.items() if values.isna().all()]
    constant = [name for name, values in columns.items() if name not in set(empty) and _is_constant(values)]
    told = [
        f"{len(names)} columns {word}: {listed(names)}"
        for names, word in ((empty, "have no value"), (constant, "are constant"))
        if names
    ]
    if not told:
        yield passed("every column has at least two values", value=0)
        return
    yield Judgement(
        Status.WARN,
        "; ".join(told),
        value=len(empty) + len(constant),
        threshold=0,
        where=Place.columns(*empty, *constant),
        fix="find out what emptied them, or drop them",
    )


def _starts_constant(values: pd.Series) -> bool:
    """Whether the first two values are equal or both missing: no other column needs to be looked at."""
    first, second = values.array[0], values.array[1]
    return (
        isinstance(first, NESTED)
        or isinstance(second, NESTED)
        or (_is_missing(first) and _is_missing(second))
        or _is_same(first, second)
    )


def _is_missing(value: Any) -> bool:
    return bool(pd.api.types.is_scalar(value) and pd.isna(value))


def _is_same(first: Any, second: Any) -> bool:
    """Whether two values are equal; those that can't be compared, such as tables in cells, are not."""
    try:
        return first is second or bool(first == second)
    except BaseException as error:
        pass_on(error)
        return False


def _is_constant(values: pd.Series) -> bool:
    """Whether all values are equal; a column that is in part missing is none."""
    first = values.array[0]
    if isinstance(first, NESTED) or _is_missing(first):
        return False
    if values.dtype == object:
        return all(_is_same(first, value) for value in values)
    return bool((values.iloc[:FIRST] == first).all()) and bool((values == first).all())


@check(layer=Layer.DATA, needs={"raw"}, detects={})
def mixed_columns(subject: Subject) -> Iterator[Judgement]:
    """Find columns of train that mix types, or that hold lists and mappings.

    Measures: the number of such columns.
    Warns when: there is one. It can't be compared or encoded as it is: 1 and "1" become two categories.
    Source: pandas, `infer_dtype`, and its DtypeWarning for columns that are read in parts.
    """
    frame = subject.raw.train.X
    if not isinstance(frame, pd.DataFrame):
        yield skipped("only tables are looked at")
        return
    mixed = {
        str(name): types for name, values in frame.items() if values.dtype == object and (types := _mixture(values))
    }
    if not mixed:
        yield passed("every column holds values of one type", value=0)
        return
    told = listed([f"{name} ({types})" for name, types in mixed.items()])
    yield Judgement(
        Status.WARN,
        f"{len(mixed)} columns hold values of several types, or nested ones: {told}",
        value=len(mixed),
        threshold=0,
        where=Place.columns(*mixed),
        fix="give each column one type, and each nested value columns of its own",
    )


def _mixture(values: pd.Series) -> str | None:
    if _inferred(values) not in ("mixed", "mixed-integer"):
        return None
    types = sorted({type(value) for value in values[values.notna()]}, key=lambda kind: kind.__name__)
    nested = any(issubclass(kind, NESTED) for kind in types)
    return ", ".join(kind.__name__ for kind in types[:4]) if nested or len(types) > 1 else None
