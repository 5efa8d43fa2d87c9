"""Scores of a model's outputs, all on one convention: higher is better."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

FAR = 500.0
"""Logits beyond it are no surer, and their exponential would overflow."""
IGNORED = -100
"""The label that losses of classes leave out unless they are told another, as that of padding."""
OF_CLASSES = ("accuracy", "balanced_accuracy", "f1")
NEAR_ONE = 1e-3
"""How far shares may be from 1 in all: ten of float16 are off by 0.0003. Those of bfloat16 may be off by half of its
epsilon, 0.004, by which each of them is rounded.
"""


def classes_of(outputs: Array) -> Array:
    """Predicted class ids `(N, …)` from outputs: arg max over classes, or a threshold on one unit.

    Outputs `(N, K)` give the largest of K; `(N,)` and `(N, 1)` are one unit: a probability when all
    lie in [0, 1], a logit otherwise.
    """
    if outputs.ndim > 1 and outputs.shape[-1] > 1:
        return np.asarray(outputs.argmax(-1))
    flat = outputs.reshape(len(outputs))
    is_probability = len(flat) > 0 and float(np.min(flat)) >= 0 and float(np.max(flat)) <= 1
    return (flat > (0.5 if is_probability else 0.0)).astype(np.int64)


def probabilities_of(outputs: Array) -> Array:
    """Probabilities `(N, K)` of outputs: softmax of logits, probabilities as they are, one unit as two classes."""
    if outputs.ndim != 2 or outputs.shape[1] == 1:
        flat = outputs.reshape(len(outputs))
        inside = bool(((flat >= 0) & (flat <= 1)).all())
        positive = flat if inside else 1 / (1 + np.exp(-flat.clip(-FAR, FAR)))
        return np.stack([1 - positive, positive], 1)
    if bool((outputs >= 0).all()) and np.allclose(outputs.sum(1), 1, atol=NEAR_ONE):
        return outputs
    shares = np.exp(outputs - outputs.max(1, keepdims=True))
    return np.asarray(shares / shares.sum(1, keepdims=True))


def positive_scores(outputs: Array) -> Array:
    """Scores `(N,)` of the positive class of a binary model."""
    if outputs.ndim > 1 and outputs.shape[-1] == 2:
        return outputs[:, 1] - outputs[:, 0]
    return outputs.reshape(len(outputs))


def _accuracy(outputs: Array, y: Array) -> float:
    return float(np.mean(classes_of(outputs).reshape(-1) == y.reshape(-1)))


def _balanced_accuracy(outputs: Array, y: Array) -> float:
    predicted = classes_of(outputs).reshape(-1)
    y = y.reshape(-1)
    return float(np.mean([np.mean(predicted[y == label] == label) for label in np.unique(y)]))


def _f1(outputs: Array, y: Array) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(y.reshape(-1), classes_of(outputs).reshape(-1), average="macro", zero_division=0))


def _auc(outputs: Array, y: Array) -> float:
    from sklearn.metrics import roc_auc_score

    if outputs.ndim > 1 and outputs.shape[-1] > 2:
        shifted = np.exp(outputs - outputs.max(-1, keepdims=True))
        return float(roc_auc_score(y, shifted / shifted.sum(-1, keepdims=True), multi_class="ovr"))
    return float(roc_auc_score(y.reshape(-1), positive_scores(outputs)))


def _r2(outputs: Array, y: Array) -> float:
    outputs, y = outputs.reshape(y.shape), y.astype(np.float64)
    return float(1 - np.mean((outputs - y) ** 2) / max(float(np.var(y, axis=0).mean()), 1e-12))


def _negative_mse(outputs: Array, y: Array) -> float:
    return -float(np.mean((outputs.reshape(y.shape) - y) ** 2))


def _negative_mae(outputs: Array, y: Array) -> float:
    return -float(np.mean(np.abs(outputs.reshape(y.shape) - y)))


def _label_accuracy(outputs: Array, y: Array) -> float:
    """Share of right labels of a multilabel model; outputs within [0, 1] are probabilities."""
    is_probability = float(outputs.min()) >= 0 and float(outputs.max()) <= 1
    return float(np.mean((outputs > (0.5 if is_probability else 0.0)) == (y > 0.5)))


METRICS: dict[str, Callable[[Array, Array], float]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "f1": _f1,
    "auc": _auc,
    "r2": _r2,
    "mse": _negative_mse,
    "mae": _negative_mae,
    "label_accuracy": _label_accuracy,
}

_BY_TASK = {
    "classification": "accuracy",
    "regression": "r2",
    "multilabel": "label_accuracy",
    "language_model": "accuracy",
}


def metric_of(task: str, metric: str | Callable[..., Any] | None) -> tuple[str, Callable[[Array, Array], float]]:
    """The name and function of a target's metric; the one that fits the task when none is given.

    The function takes outputs `(N, …)` and labels `(N, …)` as NumPy arrays; NaN scores as NaN.
    A multilabel target's "accuracy" is the share of right labels.
    """
    if callable(metric):
        return getattr(metric, "__name__", "metric"), lambda outputs, y: float(metric(outputs, y))
    name = metric or _BY_TASK[task]
    if task == "multilabel" and name == "accuracy":
        name = "label_accuracy"
    return name, functools.partial(_fitting, name)


def _fitting(name: str, outputs: Array, y: Array) -> float:
    try:
        outputs, labels = _classes_last(outputs, y), y
        if name in OF_CLASSES:
            outputs, labels = _labelled(outputs, y)
        return METRICS[name](outputs, labels) if len(labels) or not len(y) else float("nan")
    except ValueError as error:
        raise ValueError(
            f"the metric {name} does not fit outputs of shape {outputs.shape} and labels of shape {y.shape} ({error})"
        ) from error


def _labelled(outputs: Array, y: Array) -> tuple[Array, Array]:
    """Outputs `(N, …)` or `(N, …, K)` and labels `(N, …)` of classes without the places that ask for nothing."""
    kept = y != IGNORED
    return (outputs, y) if kept.all() or outputs.shape[: y.ndim] != y.shape else (outputs[kept], y[kept])


def _classes_last(outputs: Array, y: Array) -> Array:
    """Outputs `(N, K, …)` of labels `(N, …)`, as torch's cross entropy takes them, with the classes last."""
    first = outputs.ndim == y.ndim + 1 > 2 and outputs.shape[2:] == y.shape[1:] and outputs.shape[1:-1] != y.shape[1:]
    return np.moveaxis(outputs, 1, -1) if first else outputs
