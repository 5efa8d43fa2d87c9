"""The offline truth of an incident: its target's fitted preprocessing and trained model, asked with served requests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from firstfault.data.splits import to_array
from firstfault.errors import FirstfaultError, Missing, UserCodeError
from firstfault.finding import Layer
from firstfault.interrupts import pass_on
from firstfault.metrics import Array, classes_of
from firstfault.subject.memo import memo
from firstfault.subject.serving import sound_training
from firstfault.subject.subject import Subject
from firstfault.target.estimators import is_estimator
from firstfault.training.estimators import EstimatorModel, Form
from firstfault.training.loop import predict
from firstfault.training.preprocessing import to_inputs


class Offline:
    """What a target answers offline: raw samples → prepared tensors → outputs → scores → labels."""

    def __init__(self, subject: Subject, model: nn.Module) -> None:
        self.subject, self.model = subject, model
        self.recipe, self.classes = subject.recipe, subject.classes
        self.task = subject.target.task
        self.example = subject.raw.train.X
        self.shape = tuple(self.recipe.train.x.shape[1:])
        self._form = None if subject.target.by_gradients else _form(subject)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of a raw sample; none where it is no row of a table."""
        return tuple(map(str, self.example.columns)) if isinstance(self.example, pd.DataFrame) else ()

    def prepared(self, raw: Sequence[Any], steps: int | None = None) -> Array:
        """Raw samples through the training's fitted steps, the first `steps` of them or all.

        Raises:
            Missing: when they can't be sent through them.
        """
        if self.subject.target.prepare is not None:
            raise Missing("the target's `prepare` makes whole splits, and can't be given single requests")
        try:
            X = self.framed(raw)
            for _, step in self.subject.pipeline.steps[:steps]:
                X = step(X)
            X = X.toarray() if hasattr(X, "toarray") else X
            if steps is not None:
                return to_array(X)
            return np.asarray(to_inputs(X if self._form is None else self._form.numbers(X)).numpy())
        except BaseException as error:
            pass_on(error)
            raise Missing(f"the training's steps don't take these requests: {_told(error)}") from error

    def framed(self, raw: Sequence[Any]) -> Any:
        """Raw samples in the form in which the training data come: a table, a list of texts or an array."""
        if isinstance(self.example, pd.DataFrame):
            return self._table(raw)
        if _holds_texts(self.example):
            texts = [_only(value) for value in raw]
            return texts if isinstance(self.example, list) else np.array(texts, dtype=object)
        array = np.asarray([np.asarray(_only(value)) for value in raw])
        example = to_array(self.example)
        array = array.reshape(len(raw), *example.shape[1:])
        whole = array.dtype.kind in "iub" or bool((array == np.round(array)).all())
        if example.dtype.kind == "f" or whole:  # fractions are not cut off
            array = array.astype(example.dtype)
        return torch.as_tensor(array) if isinstance(self.example, torch.Tensor) else array

    def _table(self, raw: Sequence[Any]) -> pd.DataFrame:
        table = pd.DataFrame([self._row(value) for value in raw], columns=list(self.example.columns))
        for name, kind in self.example.dtypes.items():
            table[name] = _typed(table[name], kind)
        return table

    def _row(self, value: Any) -> dict[Any, Any]:
        named = {str(name): name for name in self.example.columns}
        if isinstance(value, dict):
            return {named[str(key)]: item for key, item in value.items() if str(key) in named}
        if isinstance(value, list | tuple):
            return dict(zip(self.example.columns, value, strict=False))
        return dict.fromkeys(list(self.example.columns)[:1], value)

    def tensor(self, values: Sequence[Any]) -> Array:
        """Tensors that were served, as the model takes them `(N, …)`.

        Raises:
            Missing: when they have another shape.
        """
        try:
            flat = [np.asarray(value, dtype=float) for value in values]
            return np.stack([value.reshape(self.shape) for value in flat])
        except (ValueError, TypeError) as error:
            raise Missing(f"the tensors that were served have not the shape {self.shape} of the training's") from error

    def outputs(self, x: Array, model: nn.Module | None = None) -> Array:
        """Outputs `(N, …)` of the model, or of another, on prepared inputs, each sample as if alone."""
        inputs = torch.as_tensor(np.ascontiguousarray(x))
        inputs = inputs.to(self.recipe.train.x.dtype)
        try:
            return np.asarray(predict(self.recipe, model or self.model, inputs).float().cpu().numpy())
        except BaseException as error:
            pass_on(error)
            raise Missing(f"the offline model can't be asked with these inputs: {_told(error)}") from error

    def before_last_layer(self, x: Array) -> Array | None:
        """What the model's last linear layer is given `(N, K)` on prepared inputs; None where that is no row each."""
        layers = [layer for layer in self.model.modules() if isinstance(layer, nn.Linear)]
        if not layers:
            return None
        seen: list[Array] = []
        hook = layers[-1].register_forward_pre_hook(lambda layer, given: seen.append(given[0].float().cpu().numpy()))
        try:
            self.outputs(x)
        finally:
            hook.remove()
        found = np.concatenate(seen) if seen else np.zeros(0)
        return found if found.ndim == 2 and len(found) == len(x) else None

    def scores(self, outputs: Array) -> Array:
        """Outputs as scores `(N, K)`: probabilities of classes, or numbers in deviations of the training's labels."""
        if self.task == "regression":
            return outputs.reshape(len(outputs), -1) / self.scale
        if outputs.ndim == 1 or outputs.shape[-1] == 1:
            one = 1 / (1 + np.exp(-np.clip(outputs.reshape(len(outputs)), -50, 50)))
            return np.stack([1 - one, one], axis=1)
        if self.task == "multilabel":
            return np.asarray(1 / (1 + np.exp(-np.clip(outputs, -50, 50))))
        flat = outputs.reshape(len(outputs), -1, outputs.shape[-1])[:, -1]
        shifted = np.exp(flat - flat.max(1, keepdims=True))
        return np.asarray(shifted / shifted.sum(1, keepdims=True))

    @property
    def scale(self) -> float:
        """One deviation of the training's labels, where these are numbers."""
        return max(float(self.recipe.train.y.float().std()), 1e-9)

    def labels(self, scores: Array) -> list[Any]:
        """What scores say: the value of a class, or a number."""
        if self.task != "classification":
            return [row[0] * self.scale if len(row) == 1 else row.tolist() for row in scores]
        ids = classes_of(scores)
        return [self.classes[int(each)] if int(each) < len(self.classes) else int(each) for each in ids]


@memo(of="trained")
def offline(subject: Subject) -> Offline:
    """The offline truth of a target: what its deployment declares as its model, else the model trained for it.

    Raises:
        Missing: when the target has no model, no data, or one that can't be had.
    """
    if subject.target.data is None or subject.target.model is None:
        raise Missing("no target is given: what was served can't be replayed")
    try:
        return Offline(subject, _model(subject))
    except UserCodeError as error:
        raise Missing(f"the target's own code raised: {error}") from error


def _model(subject: Subject) -> nn.Module:
    declared, load = subject.deployment.model, subject.deployment.load
    if isinstance(declared, str | Path) and load is not None and (path := subject.target.root / declared).exists():
        declared = _loaded(subject, load, path)
    if isinstance(declared, nn.Module):
        return declared
    if is_estimator(declared):
        return EstimatorModel(declared, subject.target.task, subject.classes, _form(subject), fitted=True)
    return sound_training(subject).model  # type: ignore[no-any-return]


def _form(subject: Subject) -> Form:
    return Form.of(subject.prepared.train.X, sparse=subject.pipeline.sparse)


def _loaded(subject: Subject, load: Callable[[Any], Any], path: Path) -> Any:
    try:
        return load(path)
    except BaseException as error:
        pass_on(error)
        raise UserCodeError(Layer.DEPLOYMENT, "deployment.load", error, subject.target.root) from error


def _told(error: BaseException) -> str:
    from firstfault.errors import told

    return str(error) if isinstance(error, FirstfaultError | Missing) else told(error)


def _only(value: Any) -> Any:
    """The only value of a mapping of one field, which many services wrap around a text or an image."""
    return next(iter(value.values())) if isinstance(value, dict) and len(value) == 1 else value


def _holds_texts(X: Any) -> bool:
    first = X[0] if len(X) else ""
    return isinstance(first, str)


def _typed(column: pd.Series, kind: Any) -> pd.Series:
    """A column as JSON gave it in the type that it has in training; what is none of its values is missing."""
    if isinstance(kind, pd.CategoricalDtype):
        return column.astype(kind)
    if pd.api.types.is_bool_dtype(kind):
        return column.astype(bool)
    if pd.api.types.is_numeric_dtype(kind):
        numbers = pd.to_numeric(column, errors="coerce")
        whole = pd.api.types.is_integer_dtype(kind) and numbers.notna().all() and (numbers % 1 == 0).all()
        return numbers.astype(kind) if whole else numbers.astype(float)
    if pd.api.types.is_datetime64_any_dtype(kind):
        return pd.to_datetime(column, errors="coerce")
    return column
