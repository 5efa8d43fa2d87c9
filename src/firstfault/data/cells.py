"""What the cells, the labels and the names of columns must be able to do, so that a check can look at any of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from firstfault.errors import TargetError, told
from firstfault.interrupts import pass_on
from firstfault.metrics import Array
from firstfault.values import Json


def expect_names(frame: pd.DataFrame, name: str) -> None:
    """Expect names of columns that can be told.

    Raises:
        TargetError: with the place of the first that can't.
    """
    for place, column in enumerate(frame.columns):
        if not isinstance(column, str) and (why := _why_not(column)):
            raise TargetError(
                f"data.{name} must have columns whose names can be shown and compared, "
                f"but that of column {place} raises {why}"
            )


def expect_inputs(X: Any, name: str) -> None:
    """Expect inputs that are numbers, texts or objects that pandas can look at.

    Signalling NaNs, and numbers above all floats, are none.

    Raises:
        TargetError: with the name of the first column, or the type, that isn't so.
    """
    if isinstance(X, pd.DataFrame):
        for _, column in X.items():
            if column.dtype == object:
                _expect_known(column, name)
    elif X.dtype == object and X.ndim == 2:
        for place in range(X.shape[1]):
            _expect_known(pd.Series(X[:, place], name=place, dtype=object), name)
    elif X.dtype.kind == "V":
        raise TargetError(f"data.{name} must have samples of numbers, texts or objects, but they are of type {X.dtype}")


def _expect_known(column: pd.Series, name: str) -> None:
    try:
        column.isna()
        column.infer_objects()
    except BaseException as error:
        pass_on(error)
        raise TargetError(
            f"data.{name} must have values that can be looked at, but those of {column.name!r} raise {told(error)}"
        ) from error


def expect_labels(y: Array, name: str, said: str) -> None:
    """Expect labels that are single values, and that can be shown and compared.

    Raises:
        TargetError: where one isn't.
    """
    if y.dtype.kind == "V":
        raise TargetError(
            f"data.{name} must have labels that are single values, but those of {said} are of type {y.dtype}"
        )
    if y.dtype != object:
        return
    _expect_known(pd.Series(y.ravel(), name=said, dtype=object), name)
    if not pd.api.types.infer_dtype(y.ravel(), skipna=True).startswith("mixed"):
        return
    for label in y.flat:
        if label is None or isinstance(label, str | bytes | int | float):
            continue
        if isinstance(label, list | dict | set | np.ndarray):
            raise TargetError(
                f"data.{name} must have labels that are single values, but {said} holds lists or mappings"
            )
        if why := _why_not(label):
            raise TargetError(
                f"data.{name} must have labels that can be shown and compared, "
                f"but one of {said}, a {type(label).__name__}, raises {why}"
            )


def _why_not(value: object) -> str:
    """What showing or comparing a value raises; empty for nothing."""
    try:
        hash(value)
        bool(value == value)
        f"{value!r}{value!s}"
    except BaseException as error:
        pass_on(error)
        return told(error)
    return ""


def expect_plain_columns(frame: pd.DataFrame, name: str) -> None:
    """Expect one distinct name per column.

    Raises:
        TargetError: naming the columns that share one, how many levels the names have, or what showing one raises.
    """
    if frame.columns.nlevels > 1:
        raise TargetError(
            f"data.{name} must have one name per column, but its columns have names of {frame.columns.nlevels} levels"
        )
    expect_names(frame, name)
    expect_distinct(frame.columns, name)


def expect_one_level(metadata: Json | None, name: str) -> None:
    """Expect one name per column by what pandas wrote beside a file.

    Raises:
        TargetError: saying how many levels the names have.
    """
    levels = len((metadata or {}).get("column_indexes", ()))
    if levels > 1:
        raise TargetError(f"data.{name} must have one name per column, but its columns have names of {levels} levels")


def expect_distinct(columns: Iterable[object], name: str) -> None:
    """Expect distinct names of columns.

    Raises:
        TargetError: naming some that occur more than once.
    """
    repeated = pd.Index(list(columns))
    repeated = repeated[repeated.duplicated()].unique()
    if len(repeated):
        shown = ", ".join(map(repr, repeated[:5]))
        raise TargetError(f"data.{name} must have columns of distinct names, but has more than one {shown}")
