"""Preprocessing as firstfault runs it: each step fitted on train, applied to all splits, and kept to be measured."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from firstfault.data.splits import Split, Splits, as_splits, to_array
from firstfault.errors import TargetError, UserCodeError
from firstfault.finding import Layer
from firstfault.interrupts import pass_on
from firstfault.metrics import Array
from firstfault.target.declaration import Target
from firstfault.target.estimators import parted, working
from firstfault.training.input_tree import InputTree, as_returned, samples


@dataclass(frozen=True)
class Stage:
    """The splits as they are after one step; the first stage, `raw`, is before any."""

    name: str
    splits: Splits


@dataclass(frozen=True)
class Pipeline:
    """The fitted steps of a target: what serving applies to a raw sample.

    A function X -> X is a step without a state. `stages` hold the splits after every step. `of_model` are the last
    steps as fitted objects, where they come from the pipeline that the target's model is. With `sparse`, they leave
    sparse matrices, of which the last stage holds arrays.
    """

    steps: tuple[tuple[str, Callable[[Any], Any]], ...]
    stages: tuple[Stage, ...]
    of_model: tuple[Any, ...] = ()
    sparse: bool = False

    @property
    def prepared(self) -> Splits:
        """The splits after the last step."""
        return self.stages[-1].splits

    def apply(self, X: Any) -> Any:
        """Raw inputs `(N, …)` through every fitted step."""
        rows = len(X)
        for _, step in self.steps:
            X = step(X)
        return samples(X, rows)

    def before_model(self, X: Any) -> Any:
        """Raw inputs `(N, …)` through the steps that do not belong to the model."""
        for _, step in self.steps[: len(self.steps) - len(self.of_model)]:
            X = step(X)
        return X

    def into_model(self, X: Any) -> Any:
        """Inputs that still hold texts through the steps of the model, which take them; others as they are."""
        numeric = not isinstance(X, pd.DataFrame) or all(map(pd.api.types.is_numeric_dtype, X.dtypes))
        for _, step in () if numeric else self.steps[len(self.steps) - len(self.of_model) :]:
            X = step(X)
        return X


def steps_of(preprocess: Any) -> list[tuple[str, Any]]:
    """A target's `preprocess` as a list of (name, step); a pipeline of scikit-learn in its own steps."""
    if preprocess is None:
        return []
    if type(preprocess).__module__ == "sklearn.pipeline" and isinstance(getattr(preprocess, "steps", None), list):
        return working(preprocess.steps)
    if isinstance(preprocess, list | tuple):
        return [(name, step) for name, step in preprocess]
    return [(getattr(preprocess, "__name__", type(preprocess).__name__), preprocess)]


def prepare(target: Target, raw: Splits) -> Pipeline:
    """Run the target's preprocessing on raw splits; nothing of the user's objects is changed.

    Raises:
        UserCodeError: when a step raises.
    """
    if target.prepare is not None:
        return _prepare_by_user(target, raw)
    steps: list[tuple[str, Callable[[Any], Any]]] = []
    stages = [Stage("raw", raw)]
    own = working(parted(target.estimator)[0])
    for whose, given in (("preprocess", steps_of(target.preprocess)), ("model", own)):
        for name, step in given:
            said = f"{whose} step {name!r}"
            try:
                applied = _fit(step, stages[-1].splits.train)
                splits = _apply(applied, stages[-1].splits, said)
            except BaseException as error:
                pass_on(error)
                raise UserCodeError(Layer.PREPROCESSING, said, error, target.root) from error
            name = f"{whose} {name}" if any(name == stage.name for stage in stages) else name
            stages.append(Stage(name, splits))
            steps.append((name, applied))
    sparse = _is_sparse(stages[-1].splits)
    stages[-1] = Stage(stages[-1].name, _dense(stages[-1].splits))
    fitted = tuple(applied.__self__ for _, applied in steps[len(steps) - len(own) :])  # type: ignore[attr-defined]
    return Pipeline(tuple(steps), tuple(stages), fitted, sparse)


def _prepare_by_user(target: Target, raw: Splits) -> Pipeline:
    assert target.prepare is not None
    try:
        made = as_splits(target.prepare(copy.deepcopy(raw)))
        splits = _dense(made)
        splits = Splits(
            *(Split(_samples(split.X, split.y, f"prepare, {name}"), split.y) for name, split in splits.items())
        )
    except BaseException as error:
        pass_on(error)
        raise UserCodeError(Layer.PREPROCESSING, "prepare", error, target.root) from error
    return Pipeline((), (Stage("raw", raw), Stage("prepare", splits)), sparse=_is_sparse(made))


def _fit(step: Any, train: Split) -> Callable[[Any], Any]:
    if not hasattr(step, "transform"):
        return lambda X: step(X)
    fitted = copy.deepcopy(step)
    fit = getattr(fitted, "fit", None) or getattr(fitted, "fit_transform", None)
    if fit is not None:
        wants_y = "y" in inspect.signature(fit).parameters
        fit(_copy(train.X), train.y) if wants_y else fit(_copy(train.X))
    return fitted.transform


def _apply(step: Callable[[Any], Any], splits: Splits, name: str) -> Splits:
    return Splits(*(Split(_samples(step(_copy(split.X)), split.y, name), split.y) for _, split in splits.items()))


def _samples(X: Any, y: Any, name: str) -> Any:
    X = samples(X, len(y))
    if not isinstance(X, list) and not getattr(X, "shape", ()):
        raise TargetError(
            f"{name} must return samples (a frame, an array, a tensor or a tree of them), "
            f"but returned {type(X).__name__}"
        )
    return X


def _is_sparse(splits: Splits) -> bool:
    return hasattr(splits.train.X, "toarray")


def _dense(splits: Splits) -> Splits:
    """The splits with sparse matrices as arrays: a tensor is made of them anyway, and they have no length."""
    return Splits(
        *(Split(split.X.toarray() if hasattr(split.X, "toarray") else split.X, split.y) for _, split in splits.items())
    )


def _copy(X: Any) -> Any:
    if isinstance(X, InputTree):
        return as_returned(X)
    return X.copy() if hasattr(X, "copy") else X.clone() if hasattr(X, "clone") else X


@dataclass(frozen=True)
class Labels:
    """How labels become what a loss takes: class ids in sorted order, or floats.

    `classes` are the values of a classification's labels, in the order of their ids; empty otherwise.
    """

    classes: tuple[Any, ...] = ()

    @classmethod
    def of(cls, task: str, y: Any) -> Labels:
        """The encoding of labels `y` `(N, …)`; missing labels belong to no class."""
        y = to_array(y)
        if task != "classification":
            return cls()
        values = pd.unique(pd.Series(y.reshape(-1)).dropna())
        return cls(tuple(sorted(values.tolist(), key=lambda value: (isinstance(value, str), value))))

    def encode(self, y: Any) -> torch.Tensor:
        """Labels as a tensor: int64 ids `(N,)` of classes (`(N, …)` for a class per position), float32 or int64 as they
        come otherwise.

        Raises:
            ValueError: for a label that is not among the classes.
            TargetError: for labels that are no numbers, where the task needs them.
        """
        y = to_array(y)
        if not self.classes:
            y = _numbers(y)
            dtype = torch.int64 if np.issubdtype(y.dtype, np.integer) and y.ndim > 1 else torch.float32
            return torch.as_tensor(np.ascontiguousarray(y)).to(dtype)
        if y.ndim == 2 and y.shape[1] == 1:
            y = y.reshape(-1)
        if y.ndim > 1 and not (y.dtype.kind in "iu" and y.size and y.max() > 1):  # one-hot, and no class per position
            return torch.as_tensor(y.argmax(-1).astype(np.int64))
        ids = pd.Categorical(y.reshape(-1), categories=list(self.classes)).codes.astype(np.int64)
        if (ids < 0).any():
            unknown = pd.unique(pd.Series(y.reshape(-1)[ids < 0]))[:3].tolist()
            raise ValueError(f"labels {unknown} are not among the classes of the training labels")
        return torch.as_tensor(ids.reshape(y.shape))


def _numbers(y: Array) -> Array:
    if y.dtype.kind not in "OUSmMc":
        return y
    try:
        return y.astype(np.float64)
    except (TypeError, ValueError):
        first = next((value for value in y.ravel() if not isinstance(value, int | float)), y.ravel()[0])
        raise TargetError(f"labels must be numbers, unless the task is classification, but one is {first!r}") from None


def to_inputs(X: Any, part: str = "preprocess") -> torch.Tensor:
    """Prepared inputs as one tensor `(N, …)`: floats as float32, whole numbers as int64.

    Raises:
        TargetError: when a column is still text, naming the column.
    """
    if isinstance(X, torch.Tensor):
        return _narrow(X)
    if isinstance(X, pd.DataFrame):
        for column in X.columns:
            if not pd.api.types.is_numeric_dtype(X[column]):
                raise TargetError(
                    f"{part} must leave numbers only, but column {column!r} is still {X[column].dtype}; "
                    "encode or drop it"
                )
        X = _as_array(X)
    array = to_array(X)
    if array.dtype == object:
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError):
            raise TargetError(f"{part} must leave numbers only, but it left an array of objects") from None
    return _narrow(torch.as_tensor(np.ascontiguousarray(array)))


def _as_array(X: pd.DataFrame) -> Array:
    """A frame of numbers as an array: whole ones stay whole where all columns are, and none is missing."""
    first = X.dtypes.iloc[0] if X.shape[1] else np.dtype(float)
    if any(X.dtypes != first) or X.isna().any(axis=None):
        return X.to_numpy(dtype=np.float64, na_value=np.nan)
    return X.to_numpy(dtype=getattr(first, "numpy_dtype", first))


def _narrow(X: torch.Tensor) -> torch.Tensor:
    if X.is_complex():
        raise TargetError(
            f"preprocess must leave real numbers, but left {str(X.dtype).removeprefix('torch.')}; "
            "take their absolute value, or both parts"
        )
    return X.to(torch.float32) if X.is_floating_point() or X.dtype == torch.bool else X.to(torch.int64)
