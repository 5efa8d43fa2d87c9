"""What a target's data are expected to be, by which suite, and what Great Expectations found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from firstfault.data.frames import MOST_COLUMNS
from firstfault.data.splits import Split, Splits, declared, take, to_array
from firstfault.errors import TargetError
from firstfault.target.declaration import Data, Target

if TYPE_CHECKING:
    from great_expectations import ExpectationSuite

    from firstfault.data.expectations.table import Table
    from firstfault.data.expectations.validation import Broken, Validation

ROW_FAULTS = frozenset({"missing_values", "out_of_range", "unseen_category", "duplicate_rows"})
"""Faults of single rows; a column that is absent or of another type is no fault of a row."""


@dataclass(frozen=True)
class Expected:
    """A suite, where it comes from, and the validation of each table.

    `trusted` is false for a suite that was inferred from train itself: then only the held-out rows are validated.
    """

    suite: ExpectationSuite
    origin: str
    trusted: bool
    tables: Mapping[str, Table]
    validations: Mapping[str, Validation]

    def broken(self) -> list[tuple[str, Broken]]:
        """What is broken, with the name of the table."""
        return [(name, entry) for name, found in self.validations.items() for entry in found.broken]


def expected_of(target: Target, splits: Splits, reference: Split | None) -> Expected | None:
    """The suite of a target and the validation of its data; None where train is no table.

    The suite is the declared one, else one inferred from the reference, else from train. Against a declared suite or a
    reference all rows are validated, in their database where they come from one.
    """
    from firstfault.data.expectations.in_database import database_of
    from firstfault.data.expectations.suite import infer_suite, read_suite
    from firstfault.data.expectations.table import Table
    from firstfault.data.expectations.validation import validate

    data = declared(target)
    parts = {name: columns for name, split in splits.items() if (columns := columns_of(target, split)) is not None}
    if "train" not in parts:
        return None
    known = columns_of(target, reference) if reference is not None else None
    if data.expectations is not None:
        suite, origin = read_suite(data.expectations, target.root), str(data.expectations)
    elif known is not None:
        suite, origin = infer_suite(Table([known]), "inferred from the reference"), "the reference"
    else:
        suite, origin = infer_suite(Table([parts["train"]]), "inferred from train"), "train"
    trusted = origin != "train"
    tables = {"data": Table(list(parts.values()))} if trusted else _held_out(data, parts)
    database = (
        database_of([data.train, *(getattr(data, name) for name in data.declared_splits)], target.root)
        if trusted
        else None
    )
    engine = {"run": database} if database is not None else {}
    validations = {name: validate(table, suite, **engine) for name, table in tables.items()}
    return Expected(suite, origin, trusted, tables, validations)


def _held_out(data: Data, parts: Mapping[str, Mapping[str, pd.Series]]) -> dict[str, Table]:
    """The splits that the user declared; those that firstfault drew count as one."""
    from firstfault.data.expectations.table import Table

    own = {name: Table([parts[name]]) for name in data.declared_splits if name in parts}
    rest = [columns for name, columns in parts.items() if name != "train"]
    return own or ({"held-out rows": Table(rest)} if rest else {})


def columns_of(target: Target, split: Split) -> dict[str, pd.Series] | None:
    """A split's columns with its label columns, not copied; None for images and wide samples."""
    columns = _input_columns(split.X)
    if columns is None:
        return None
    y, label = to_array(split.y), declared(target).label
    if y.ndim == 1 and len(y) == len(split.X):
        return columns | {label if isinstance(label, str) else "label": pd.Series(y)}
    if y.ndim == 2 and isinstance(label, list | tuple) and y.shape[1] == len(label):
        return columns | {name: pd.Series(y[:, position]) for position, name in enumerate(label)}
    return columns


def _input_columns(X: Any) -> dict[str, pd.Series] | None:
    if isinstance(X, pd.DataFrame):
        return {str(name): values for name, values in X.items()} if len(X.columns) <= MOST_COLUMNS else None
    array = to_array(X)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or array.shape[1] > MOST_COLUMNS:
        return None
    return {str(position): pd.Series(array[:, position]) for position in range(array.shape[1])}


def rows_to_set_aside(expected: Expected) -> dict[int, list[str]]:
    """The rows that break a critical expectation, by position over all splits, each with its reasons."""
    from firstfault.data.expectations.validation import failing_rows

    if not expected.trusted:
        return {}
    broken = [entry for _, entry in expected.broken() if entry.fault in ROW_FAULTS]
    return failing_rows(expected.tables["data"], expected.suite, broken)


def without(splits: Splits, rows: Iterable[int]) -> Splits:
    """The splits without rows, given by position over train, validation and test.

    Raises:
        TargetError: when that leaves a split empty.
    """
    gone = np.zeros(sum(len(split.y) for _, split in splits.items()), bool)
    gone[list(rows)] = True
    kept, start = [], 0
    for name, split in splits.items():
        stop = start + len(split.y)
        if gone[start:stop].all():
            raise TargetError(
                f"data.quarantine must leave rows in every split, but all {len(split.y)} of {name} "
                "break a critical expectation"
            )
        kept.append(take(split, np.flatnonzero(~gone[start:stop])))
        start = stop
    return Splits(*kept)
