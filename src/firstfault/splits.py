"""Raw samples: read from where the target says they are, and split into train, validation and test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from firstfault.errors import PrerequisiteError, TargetError
from firstfault.folders import read_folder
from firstfault.target import Data, Sql, Target

HELD_OUT = 0.2
READERS = {".csv": "csv", ".parquet": "parquet", ".pq": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl"}


class Split(NamedTuple):
    """Samples `X` `(N, …)` (frame, array or tensor) and their labels `y` `(N, …)`."""

    X: Any
    y: Any


@dataclass(frozen=True)
class Splits:
    """The three splits of a data set; pairs `(X, y)` are taken for `Split`."""

    train: Split
    validation: Split
    test: Split

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
    data = _declared(target)
    train = read_split(data, data.train, "train", target.root)
    validation = read_split(data, data.validation, "validation", target.root) if data.validation is not None else None
    test = read_split(data, data.test, "test", target.root) if data.test is not None else None
    seed = target.training.seed if target.training else 0
    classes = target.task == "classification"
    if test is None:
        train, test = _hold_out(train, data, seed, classes)
    if validation is None:
        train, validation = _hold_out(train, data, seed + 1, classes)
    return Splits(train, validation, test)


def load_reference(target: Target) -> Split | None:
    """The declared reference data, or None."""
    data = _declared(target)
    if data.reference is None:
        return None
    return read_split(data, data.reference, "reference", target.root)


def read_split(data: Data, source: Any, name: str, root: Path) -> Split:
    """Read one source, and part its inputs from its labels.

    Raises:
        TargetError: when it can't be read, is empty, or lacks a declared column.
    """
    value = _read(source, name, root)
    split = _from_frame(data, value, name) if isinstance(value, pd.DataFrame) else _from_pair(value, name)
    if len(split.X) == 0:
        raise TargetError(f"data.{name} must have at least one row, but {_named(source)} has none")
    if len(split.X) != len(split.y):
        raise TargetError(f"data.{name} must have one label per sample, but has {len(split.X)} samples and {len(split.y)} labels")
    return split


def _declared(target: Target) -> Data:
    if target.data is None:
        raise TargetError("data must be declared to read it, but the target has none")
    return target.data


def _read(source: Any, name: str, root: Path) -> Any:
    if isinstance(source, str | Path):
        path = root / Path(source).expanduser()
        if path.is_dir():
            return read_folder(path, name, _read_file, frozenset(READERS))
        return _read_file(path, name)
    if isinstance(source, Sql):
        return _read_sql(source, name)
    if callable(source):
        return _read(source(), name, root)
    return source


def _read_file(path: Path, name: str) -> pd.DataFrame:
    if not path.is_file():
        raise TargetError(f"data.{name}: there is no file {path}")
    kind = READERS.get(path.suffix.lower())
    if kind is None:
        raise TargetError(f"data.{name} must be a {', '.join(READERS)} file, but got {path.name}")
    try:
        if kind == "csv":
            return pd.read_csv(path)
        if kind == "parquet":
            return pd.read_parquet(path)
        return pd.read_json(path, lines=True)
    except pd.errors.EmptyDataError:
        raise TargetError(f"data.{name} must have at least one row, but {path.name} is empty") from None
    except Exception as error:
        raise TargetError(f"data.{name}: {path.name} can't be read as {kind}: {str(error).splitlines()[0]}") from error


def _read_sql(source: Sql, name: str) -> pd.DataFrame:
    import sqlalchemy

    try:
        engine = sqlalchemy.create_engine(source.url)
        with engine.connect() as connection:
            return pd.read_sql(sqlalchemy.text(source.query), connection)
    except ModuleNotFoundError as error:
        raise PrerequisiteError.extra(f"data.{name}: reading {source.url.split(':')[0]} (no module {error.name})", "postgres") from error
    except Exception as error:
        raise TargetError(f"data.{name}: the query failed: {str(error).splitlines()[0]}") from error


def _from_frame(data: Data, frame: pd.DataFrame, name: str) -> Split:
    if len(frame) == 0:
        raise TargetError(f"data.{name} must have at least one row, but it is an empty table")
    labels = [data.label] if isinstance(data.label, str) else list(data.label or ())
    if not labels:
        raise TargetError(f"data.label must name the label column of data.{name}, whose columns are {_listed(frame.columns)}")
    declared = [*labels, *data.sensitive, *(column for column in (data.group, data.time) if column)]
    for column in declared:
        if column not in frame.columns:
            raise TargetError(f"data.{name} has no column {column!r}; its columns are {_listed(frame.columns)}")
    y = frame[labels[0]].to_numpy() if isinstance(data.label, str) else frame[labels].to_numpy()
    return Split(frame.drop(columns=labels).reset_index(drop=True), y)


def _from_pair(value: Any, name: str) -> Split:
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise TargetError(f"data.{name} must be a path, a DataFrame, (X, y), a callable or Sql, but got {type(value).__name__}")
    X, y = value
    X = X.reset_index(drop=True) if isinstance(X, pd.DataFrame) else to_array(X)
    return Split(X, to_array(y))


def to_array(value: Any) -> np.ndarray[Any, Any]:
    """A tensor, series, sparse matrix or list as a NumPy array."""
    if hasattr(value, "detach"):
        return np.asarray(value.detach().cpu().numpy())
    if hasattr(value, "toarray"):
        return np.asarray(value.toarray())
    return np.asarray(value)


def take(split: Split, rows: Any) -> Split:
    """The given rows of a split, by position."""
    X = split.X.iloc[rows].reset_index(drop=True) if isinstance(split.X, pd.DataFrame) else split.X[rows]
    return Split(X, split.y[rows])


def _hold_out(split: Split, data: Data, seed: int, stratify: bool) -> tuple[Split, Split]:
    """Part off `HELD_OUT` of the rows: the latest by time, whole groups, or at random by class."""
    n = len(split.y)
    if n < 2:
        return split, split
    frame = split.X if isinstance(split.X, pd.DataFrame) else None
    if frame is not None and data.time:
        order = np.argsort(frame[data.time].to_numpy(), kind="stable")
        cut = max(1, round(n * (1 - HELD_OUT)))
        return take(split, order[:cut]), take(split, order[cut:])
    if frame is not None and data.group:
        from sklearn.model_selection import GroupShuffleSplit

        parts = GroupShuffleSplit(1, test_size=HELD_OUT, random_state=seed).split(frame, groups=frame[data.group])
        kept, held = next(parts)
        return take(split, kept), take(split, held)
    return _hold_out_random(split, seed, stratify)


def _hold_out_random(split: Split, seed: int, stratify: bool) -> tuple[Split, Split]:
    from sklearn.model_selection import train_test_split

    rows = np.arange(len(split.y))
    strata = None
    if stratify and split.y.ndim == 1:
        strata = pd.factorize(pd.Series(split.y))[0]
        counts = np.bincount(strata[strata >= 0])
        if (strata < 0).any() or counts.min() < 2 or len(counts) > len(rows) * HELD_OUT:
            strata = None
    kept, held = train_test_split(rows, test_size=HELD_OUT, random_state=seed, stratify=strata)
    return take(split, kept), take(split, held)


def _named(source: Any) -> str:
    return str(source) if isinstance(source, str | Path | Sql) else f"a {type(source).__name__}"


def _listed(columns: Any) -> str:
    names = [str(column) for column in columns]
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
