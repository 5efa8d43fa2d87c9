"""An estimator of scikit-learn's style as a model of a recipe: fitted in one call, asked as a network is."""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from firstfault.check import NO_STEPS
from firstfault.data.splits import to_array
from firstfault.errors import Missing
from firstfault.target.estimators import settings_of

TINY = 1e-7
"""What a probability of 0 counts as, so that it has a logarithm."""
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Form:
    """How prepared inputs are before they become one tensor: a frame's columns and types, or an array's type.

    With `sparse` they are a sparse matrix: to XGBoost, what it leaves out is missing.
    """

    dtypes: pd.Series | None
    dtype: Any
    sparse: bool = False

    @classmethod
    def of(cls, X: Any, *, sparse: bool = False) -> Form:
        """The form of prepared inputs."""
        if isinstance(X, pd.DataFrame):
            return cls(X.dtypes, None)
        return cls(None, to_array(X).dtype, sparse)

    def scaled(self, width: int) -> torch.Tensor:
        """Which of the columns `(width,)` have a scale, and are no codes of categories."""
        if self.dtypes is None or len(self.dtypes) != width:
            return torch.ones(width, dtype=torch.bool)
        return torch.tensor([not _categories(kind) for kind in self.dtypes])

    def numbers(self, X: Any) -> Any:
        """Inputs with the codes of their categories, NaN where there is none."""
        if self.dtypes is None or not isinstance(X, pd.DataFrame):
            return X
        X = X.copy()
        for name, kind in self.dtypes.items():
            if _categories(kind):
                X[name] = self._codes(X[name], kind)
        return X

    def _codes(self, column: pd.Series, kind: Any) -> Array:
        codes = np.asarray(pd.Categorical(column, dtype=kind).codes, dtype=np.float64)
        return np.where(codes < 0, np.nan, codes)

    def restored(self, x: torch.Tensor) -> Any:
        """The inputs that a tensor `(N, D)` was made of."""
        array = x.detach().cpu().numpy()
        if self.sparse:
            from scipy.sparse import csr_matrix

            return csr_matrix(array.astype(self.dtype))
        if self.dtypes is None:
            return array if self.dtype.kind in "OUS" else array.astype(self.dtype)
        named = zip(self.dtypes.items(), array.reshape(len(array), -1).T, strict=True)
        return pd.DataFrame({name: _column(values, kind) for (name, kind), values in named})


def _categories(kind: Any) -> bool:
    return isinstance(kind, pd.CategoricalDtype)


def _column(values: Array, kind: Any) -> Any:
    if _categories(kind):
        return pd.Categorical.from_codes(np.nan_to_num(values, nan=-1).astype(int), dtype=kind)
    if isinstance(kind, np.dtype) and (kind.kind == "f" or np.isfinite(values).all()):
        return values.astype(kind)
    return values.astype(np.float64)


def scaled_columns(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Which columns of inputs `(N, D)` have a scale: all of a network's, and those of no category of an estimator's."""
    width = x.shape[-1] if x.ndim else 1
    return model.form.scaled(width) if isinstance(model, EstimatorModel) else torch.ones(width, dtype=torch.bool)


class EstimatorModel(nn.Module):
    """An estimator asked as a network is: inputs `(N, D)` in, outputs `(N, …)` out, once it is fitted.

    Outputs of a classification are the logarithms `(N, K)` of its probabilities, or of what its decision function or
    its answers make of them; of several labels their probabilities `(N, L)`; else its predictions.
    """

    def __init__(
        self, estimator: Any, task: str, classes: tuple[Any, ...], form: Form, *, fitted: bool = False
    ) -> None:
        super().__init__()
        self.estimator: Any = estimator
        self.task, self.classes, self.form, self.fitted = task, classes, form, fitted

    def seeded(self, seed: int, *, own: bool) -> EstimatorModel:
        """The same model with its random states set; what the user set stays for the target's `own` seed."""
        params = settings_of(self.estimator)
        states = {
            name: seed
            for name, value in params.items()
            if name.rpartition("__")[2] == "random_state" and not (own and value is not None)
        }
        if states:
            self.estimator.set_params(**states)
        return self

    def fit(self, x: torch.Tensor, y: torch.Tensor, held_out: tuple[torch.Tensor, torch.Tensor]) -> None:
        """Fit the estimator to inputs and encoded labels; one that stops early is handed those held out."""
        X, labels = self.form.restored(x), self.labels(y)
        if self._wants_validation():
            pair = (self.form.restored(held_out[0]), self.labels(held_out[1]))
            self.estimator.fit(X, labels, eval_set=[pair], **self._quietly())
        else:
            self.estimator.fit(X, labels)
        self.fitted = True

    def _wants_validation(self) -> bool:
        params = settings_of(self.estimator)
        stops = any(params.get(name) for name in ("early_stopping_rounds", "early_stopping_round"))
        return stops and "eval_set" in inspect.signature(self.estimator.fit).parameters

    def _quietly(self) -> dict[str, Any]:
        verbose = inspect.signature(self.estimator.fit).parameters.get("verbose")
        return {} if verbose is None else {"verbose": False}

    def labels(self, y: torch.Tensor) -> Array:
        """Encoded labels as the user's data have them, or as they are encoded for one that takes no texts."""
        if self.task != "classification" or not self.classes or self._by_codes():
            return y.cpu().numpy()
        mixed = len({type(value) for value in self.classes}) > 1
        return np.asarray(self.classes, dtype=object if mixed else None)[y.cpu().numpy()]

    def _by_codes(self) -> bool:
        """Whether the estimator names classes by number only, and the data by text."""
        last = self.estimator.steps[-1][1] if hasattr(self.estimator, "steps") else self.estimator
        own = type(last).__module__.partition(".")[0] == "xgboost"
        return own and any(isinstance(value, str) for value in self.classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs of prepared inputs `(N, D)`.

        Raises:
            Missing: before it is fitted.
        """
        return torch.as_tensor(self.answer(self.form.restored(x)))

    def answer(self, X: Any, **limit: Any) -> Array:
        """Outputs of inputs in the form in which the estimator takes them; `limit` goes to what it is asked."""
        if not self.fitted:
            raise Missing(NO_STEPS)
        return self.outputs(_asked(self.estimator, self.task, X, limit))

    def outputs(self, answers: Any) -> Array:
        """Outputs of what the estimator answers: probabilities, labels or numbers."""
        if self.task == "classification":
            return np.log(np.clip(self._shares(np.asarray(answers)), TINY, 1.0)).astype(np.float32)
        if isinstance(answers, list):  # of several labels, an array (N, 2) for each
            answers = np.stack([np.asarray(part)[:, -1] for part in answers], 1)
        return np.asarray(answers, dtype=np.float32)

    def _shares(self, answers: Array) -> Array:
        """Probabilities `(N, K)` in the order of the target's classes; 0 of a class that was not there to fit."""
        named = range(len(self.classes)) if self._by_codes() else self.classes
        columns = {value: column for column, value in enumerate(named)}
        shares = np.zeros((len(answers), max(len(self.classes), 2)))
        if answers.ndim < 2 or answers.dtype.kind not in "fc":
            labels = [columns.get(value, -1) for value in answers.reshape(-1).tolist()]
            shares[np.arange(len(labels)), labels] = 1.0
            return shares
        known = np.asarray(getattr(self.estimator, "classes_", named)).tolist()
        for value, part in zip(known, answers.T, strict=True):
            if value in columns:
                shares[:, columns[value]] = part
        return shares


def _asked(estimator: Any, task: str, X: Any, limit: dict[str, Any]) -> Any:
    """What an estimator says most by: probabilities, margins made probabilities, or its answers."""
    if task in ("classification", "multilabel") and hasattr(estimator, "predict_proba"):
        return estimator.predict_proba(X, **limit)
    if task != "classification" or not hasattr(estimator, "decision_function"):
        return estimator.predict(X, **limit)
    margins = np.asarray(estimator.decision_function(X), dtype=np.float64)
    if margins.ndim == 1:
        margins = np.stack([np.zeros(len(margins)), margins], 1)
    shifted = np.exp(margins - margins.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


def fresh(estimator: Any) -> Any:
    """An estimator like another, not fitted."""
    if hasattr(estimator, "get_params") and hasattr(estimator, "set_params"):
        from sklearn.base import clone

        return clone(estimator)
    return copy.deepcopy(estimator)
