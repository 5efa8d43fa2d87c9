"""Raw samples: read from where the target says they are, and split into train, validation and test."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from firstfault.data.cells import expect_inputs, expect_labels, expect_plain_columns
from firstfault.data.files import read_file
from firstfault.data.folders import read_folder
from firstfault.data.held_out import hold_out
from firstfault.data.parquet import MOST_SINGLE_COLUMNS
from firstfault.data.reading import Read, Reading
from firstfault.data.sql import Sql, read_sql
from firstfault.errors import FirstfaultError, TargetError, UserCodeError
from firstfault.finding import Layer
from firstfault.interrupts import pass_on
from firstfault.metrics import Array
from firstfault.target.declaration import Data, Target
from firstfault.texts import shown


class Split(NamedTuple):
    """Samples `X` `(N, …)` (frame, array or tensor) and their labels `y` `(N, …)`."""

    X: Any
    y: Any


@dataclass(frozen=True)
class Splits:
    """The three splits of a data set; pairs `(X, y)` are taken for `Split`.

    `readings` is what reading each source taught.
    """

    train: Split
    validation: Split
    test: Split
    readings: Mapping[str, Reading] = field(default_factory=dict, repr=False, kw_only=True)

    def __post_init__(self) -> None:
        for name in ("train", "validation", "test"):
            object.__setattr__(self, name, Split(*getattr(self, name)))

    def items(self) -> tuple[tuple[str, Split], ...]:
        """Each split with its name, in order."""
        return (("train", self.train), ("validation", self.validation), ("test", self.test))


def as_splits(value: Any) -> Splits:
    """What a user's `prepare` returned, as `Splits`: it may be a mapping or a triple of pairs too."""
    if isinstance(value, Splits):
        return value
    if isinstance(value, Mapping):
        return Splits(value["train"], value.get("validation", value.get("val")), value["test"])
    if isinstance(value, tuple | list) and len(value) == 3:
        return Splits(*value)
    if all(hasattr(value, name) for name in ("train", "validation", "test")):
        return Splits(value.train, value.validation, value.test)
    raise TypeError(f"prepare must return Splits(train, validation, test), but returned {type(value).__name__}")


def load_raw(target: Target) -> Splits:
    """The target's raw splits: `X` a DataFrame or an array, `y` an array as the source has it.

    Raises:
        TargetError: for a missing file, an unknown column, an empty table or another unusable source.
    """
    data = declared(target)
    splits, readings = {}, {}
    for name in ("train", *data.declared_splits):
        splits[name], readings[name] = _read_split(data, getattr(data, name), name, target.root)
    rows = _dealt(data, splits["train"], target)
    parts = _parted(splits.pop("train"), list(rows.values()))
    splits |= {name: _own(split) for name, split in splits.items()} | dict(zip(rows, parts, strict=True))
    return Splits(splits["train"], splits["validation"], splits["test"], readings=readings)


def load_reference(target: Target) -> Split | None:
    """The declared reference data, or None."""
    found = read_reference(target)
    return found[0] if found else None


def read_reference(target: Target) -> tuple[Split, Reading] | None:
    """The declared reference data and what reading them taught, or None."""
    data = declared(target)
    if data.reference is None:
        return None
    split, reading = _read_split(data, data.reference, "reference", target.root)
    return _own(split), reading


def read_split(data: Data, source: Any, name: str, root: Path) -> Split:
    """Read one source, and part its inputs from its labels.

    Raises:
        TargetError: when it can't be read, is empty, or lacks a declared column.
    """
    return _own(_read_split(data, source, name, root)[0])


def _read_split(data: Data, source: Any, name: str, root: Path) -> tuple[Split, Reading]:
    """A split whose inputs may still share memory with their source, and what reading it taught."""
    value, reading = _read(source, name, root)
    split = _from_frame(data, value, name) if isinstance(value, pd.DataFrame) else _from_pair(value, name)
    if np.ndim(split.X) == 0 or len(split.X) == 0:
        raise TargetError(f"data.{name} must have at least one row, but {_named(source)} has none")
    if np.ndim(split.y) == 0 or len(split.X) != len(split.y):
        labels = len(split.y) if np.ndim(split.y) else "no"
        raise TargetError(
            f"data.{name} must have one label per sample, but has {len(split.X)} samples and {labels} labels"
        )
    if 0 in np.shape(split.X):
        raise TargetError(f"data.{name} must have values beside the label, but its samples hold none")
    expect_labels(split.y, name, "y" if data.label is None else shown(data.label, str))
    if not isinstance(source, str | Path):  # a file holds no objects
        expect_inputs(split.X, name)
    return split, reading


def declared(target: Target) -> Data:
    """What a target declares of its data.

    Raises:
        TargetError: where it declares none.
    """
    if target.data is None:
        raise TargetError("data must be declared to read it, but the target has none")
    return target.data


def _read(source: Any, name: str, root: Path) -> tuple[Any, Reading]:
    read = Read()
    if isinstance(source, str | Path):
        path = root / Path(source).expanduser()
        if path.is_dir():
            return read_folder(path, name, read)
        return read_file(path, name, read), read.reading()
    if isinstance(source, Sql):
        return read_sql(source, name, root), read.reading()
    if callable(source):
        return _read(_called(source, root), name, root)
    return source, read.reading()


def _called(source: Callable[[], Any], root: Path) -> Any:
    """What the user's function gives; all that can raise here is the user's."""
    try:
        return source()
    except (FirstfaultError, UserCodeError):
        raise
    except BaseException as error:
        pass_on(error)
        raise UserCodeError(Layer.DATA, "loading the data", error, root) from error


def _from_frame(data: Data, frame: pd.DataFrame, name: str) -> Split:
    if len(frame) == 0:
        raise TargetError(f"data.{name} must have at least one row, but it is an empty table")
    expect_plain_columns(frame, name)
    single = isinstance(data.label, str) or not isinstance(data.label, Iterable)
    labels: list[Any] = [data.label] if single and data.label is not None else list(data.label or ())
    if not labels:
        raise TargetError(
            f"data.label must name the label column of data.{name}, whose columns are {_listed(frame.columns)}"
        )
    wanted = [*labels, *data.sensitive, *(column for column in (data.group, data.time) if column)]
    for column in wanted:
        if column not in frame.columns:
            raise TargetError(f"data.{name} has no column {column!r}; its columns are {_listed(frame.columns)}")
    X = frame.copy(deep=False)
    y = [_plain_labels(X.pop(column)) for column in labels]
    X.index = pd.RangeIndex(len(X))
    return Split(X, y[0] if single else np.column_stack(y))


def _plain_labels(values: pd.Series) -> Array:
    """A label column as NumPy has it: pandas' own types of missing values as NaN or None."""
    if not pd.api.types.is_extension_array_dtype(values.dtype):
        return values.to_numpy()
    if pd.api.types.is_bool_dtype(values.dtype) or not pd.api.types.is_numeric_dtype(values.dtype):
        return np.asarray(values.astype(object).where(values.notna(), None).infer_objects().to_numpy())
    return values.to_numpy(dtype=float, na_value=np.nan) if values.hasnans else np.asarray(values.to_numpy())


def _from_pair(value: Any, name: str) -> Split:
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise TargetError(
            f"data.{name} must be a path, a DataFrame, (X, y), a callable or Sql, but got {_spoken(value)}"
        )
    X, y = value
    if isinstance(X, Mapping):
        raise TargetError(
            f"data.{name} must have one frame, array or tensor of samples, but got a {type(X).__name__}; "
            "make several inputs of it in `preprocess`"
        )
    if isinstance(X, pd.DataFrame):
        expect_plain_columns(X, name)
        X = X.copy(deep=False)
        X.index = pd.RangeIndex(len(X))
    try:
        X = X if isinstance(X, pd.DataFrame) else to_array(X)
        y = _plain_labels(y) if isinstance(y, pd.Series) else to_array(y)
    except ValueError:
        raise TargetError(
            f"data.{name} must be arrays of samples of one shape, but got lists of several lengths"
        ) from None
    return Split(pd.DataFrame(X) if isinstance(X, np.ndarray) and X.dtype.names else X, y)


def to_array(value: Any) -> Array:
    """A tensor, series, sparse matrix, masked array (NaN for what is masked) or list as a NumPy array."""
    if hasattr(value, "detach"):
        return np.asarray(value.detach().cpu().numpy())
    if hasattr(value, "toarray"):
        return np.asarray(value.toarray())
    if isinstance(value, np.ma.MaskedArray):
        return np.asarray(np.ma.filled(value.astype(float), np.nan) if np.ma.is_masked(value) else value.data)
    return np.asarray(value)


def take(split: Split, rows: Array | slice) -> Split:
    """The given rows of a split, by position."""
    X = split.X.iloc[rows].reset_index(drop=True) if isinstance(split.X, pd.DataFrame) else split.X[rows]
    return Split(X, split.y[rows])


def _dealt(data: Data, train: Split, target: Target) -> dict[str, Array | None]:
    """The rows of the declared train that each split gets; None for all of them."""
    seed = target.training.seed if target.training else 0
    given = data.declared_splits
    if len(given) == 2:
        return {"train": None}
    kept, rows = np.arange(len(train.y)), {}
    for name, drawn in (("test", seed), ("validation", seed + 1)):
        if name not in given:
            stay, held = hold_out(train.X, train.y, kept, data, drawn, target.task == "classification")
            kept, rows[name] = kept[stay], kept[held]
    return {"train": np.sort(kept) if target.training and target.training.keeps_order else kept, **rows}


def _parted(split: Split, parts: list[Array | None]) -> list[Split]:
    """The rows of each part (None: all), in memory of their own. The columns of `split.X` are given up one by one."""
    labels = [split.y.copy() if rows is None else split.y[rows] for rows in parts]
    if not isinstance(split.X, pd.DataFrame):
        return [Split(split.X if rows is None else split.X[rows], y) for rows, y in zip(parts, labels, strict=True)]
    if split.X.shape[1] > MOST_SINGLE_COLUMNS:
        return [
            Split(split.X.copy() if rows is None else take(split, rows).X, y)
            for rows, y in zip(parts, labels, strict=True)
        ]
    indexes = [pd.RangeIndex(len(y)) for y in labels]
    columns: list[dict[Hashable, pd.Series]] = [{} for _ in parts]
    for name in list(split.X.columns):
        values = split.X.pop(name)
        for rows, index, made in zip(parts, indexes, columns, strict=True):
            made[name] = values.copy() if rows is None else _numbered(values.iloc[rows], index)
    return [
        Split(pd.DataFrame(made, index=index, copy=False), y)
        for made, index, y in zip(columns, indexes, labels, strict=True)
    ]


def _numbered(values: pd.Series, index: pd.RangeIndex) -> pd.Series:
    values.index = index
    return values


def _own(split: Split) -> Split:
    """The split in memory of its own."""
    return _parted(split, [None])[0]


def _named(source: object) -> str:
    return str(source) if isinstance(source, str | Path | Sql) else f"a {type(source).__name__}"


def _spoken(value: object) -> str:
    kind = type(value)
    if isinstance(value, tuple | list):
        return f"{kind.__name__} of {len(value)}"
    library = kind.__module__.partition(".")[0]
    named = kind.__name__ if library == "builtins" else f"{library}.{kind.__name__}"
    return f"{named}, which can be given as its to_pandas()" if hasattr(value, "to_pandas") else named


def _listed(columns: Iterable[object]) -> str:
    names = [str(column) for column in columns]
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
