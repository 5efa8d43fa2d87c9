"""Simple models on the same prepared data: what a network has to beat to count as sound."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from firstfault.metrics import METRICS, metric_of

MOST_ROWS = 4_000
MOST_COLUMNS = 1_024
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Baselines:
    """The best simple score, whose it is, the constant answer's score, and the metric's standard error.

    `span` is the distance from the constant answer to a perfect one, in units of the metric. `constant` tells that
    nothing but the constant answer could be tried.
    """

    name: str
    best: float
    prior: float
    error: float
    span: float
    constant: bool


def baselines(subject: Any) -> Baselines:
    """Score a constant answer and a simple model on the validation split.

    That is a linear model on at most 4,000 training rows, flattened and standardised; for a language model, the most
    frequent successor of each token. Other tokens, and labels of several columns, get the constant answer only.
    Computed once per subject.
    """
    if "baselines" not in subject.built:
        subject.built["baselines"] = _measure(subject.recipe)
    return subject.built["baselines"]  # type: ignore[no-any-return]


def _measure(recipe: Any) -> Baselines:
    from firstfault.prior import prior_score

    prior = prior_score(recipe, recipe.validation)
    name, best = "a constant answer", prior
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores = _models(recipe)
    for title, score in scores:
        if score > best:
            name, best = title, score
    metric = metric_of(recipe.task, recipe.training.metric)[0]
    error = _standard_error(metric, best, len(recipe.validation))
    span = abs(best - prior) if metric in ("mse", "mae") else max(0.2, 1.0 - prior if math.isfinite(prior) else 1.0)
    return Baselines(name, best, prior, error, span, constant=not scores)


def _models(recipe: Any) -> list[tuple[str, float]]:
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if recipe.task == "language_model":
        return _successors(recipe)
    rows = training_rows(recipe, MOST_ROWS, MOST_COLUMNS)
    if rows is None:
        return []
    linear = LogisticRegression(max_iter=200) if recipe.classes else Ridge()
    return [("a linear model", score_of(recipe, make_pipeline(StandardScaler(), linear).fit(*rows)))]


def training_rows(recipe: Any, most_rows: int, most_columns: int) -> tuple[Array, Array] | None:
    """The first training rows as a matrix of finite numbers, with their labels; None where a simple model can't take them."""
    one = recipe.train.y.ndim == 1 or (recipe.task == "regression" and recipe.train.y.shape[1:] == (1,))
    if recipe.task not in ("classification", "regression") or not recipe.train.x.is_floating_point() or not one:
        return None
    x, y = _matrix(recipe.train.x)[:most_rows], recipe.train.y.numpy()[:most_rows]
    if x.shape[1] > most_columns or not np.isfinite(x).all() or (recipe.classes and len(np.unique(y)) < 2):
        return None
    return x, y


def _successors(recipe: Any) -> list[tuple[str, float]]:
    """The accuracy of answering each token with its most frequent successor in train."""
    name, _ = metric_of(recipe.task, recipe.training.metric)
    x, y = recipe.train.x.numpy(), recipe.train.y.numpy()
    held, wanted = recipe.validation.x.numpy(), recipe.validation.y.numpy()
    if name != "accuracy" or x.shape != y.shape or x.dtype.kind not in "iu" or held.shape != wanted.shape:
        return []
    pairs, counts = np.unique(np.stack([x.ravel(), y.ravel()]), axis=1, return_counts=True)
    order = np.argsort(counts, kind="stable")
    best = dict(zip(pairs[0, order].tolist(), pairs[1, order].tolist(), strict=True))
    answers = np.array([best.get(token, -1) for token in held.ravel().tolist()])
    return [("the most frequent successor", float((answers == wanted.ravel()).mean()))]


def score_of(recipe: Any, model: Any) -> float:
    """The recipe's metric of a fitted scikit-learn model on validation; −∞ where it can't be measured."""
    name, metric = metric_of(recipe.task, recipe.training.metric)
    if name not in METRICS:
        return -math.inf
    x, y = _matrix(recipe.validation.x), recipe.validation.y.numpy()
    if not np.isfinite(x).all():
        return -math.inf
    if not recipe.classes:
        return float(metric(model.predict(x), y))
    outputs = np.zeros((len(x), max(recipe.classes, 2)))
    outputs[:, model.classes_.astype(int)] = model.predict_proba(x)
    return float(metric(outputs, y))


def _matrix(x: Any) -> Array:
    return np.asarray(x.flatten(1).numpy() if x.ndim > 1 else x[:, None].numpy(), dtype=np.float64)


def _standard_error(metric: str, score: float, n: int) -> float:
    if metric in ("mse", "mae"):
        return abs(score) / math.sqrt(max(n, 1))
    share = min(max(score, 0.05), 0.95) if math.isfinite(score) else 0.5
    return math.sqrt(share * (1 - share) / max(n, 1))
