"""Simple models on the same prepared data: what a network has to beat to count as sound."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from firstfault.interrupts import pass_on
from firstfault.metrics import IGNORED, METRICS, metric_of
from firstfault.subject.memo import memo
from firstfault.subject.subject import Subject
from firstfault.subject.width import narrowest, stochastic
from firstfault.training.chance import prior_score
from firstfault.training.one_tensor import Samples, inputs_of_call
from firstfault.training.recipe import Recipe
from firstfault.training.scores import standard_error

MOST_ROWS = 4_000
"""Bounds the time of a linear model's fit."""
MOST_COLUMNS = 1_024
"""Bounds the time and memory of simple models: an image of 32 × 32, or the pixels of a larger one on a grid."""
MOST_WORDS = 2_000
"""Kinds of tokens that are counted: 64 MB of counts with 4,000 rows; of more kinds there is no simple model."""
LEAST_SPAN = 0.2
"""Where a constant answer scores above 0.8, the rest is too little to measure shortfalls by: a choice of ours."""
TINY = 1e-7
"""Probabilities are cut here, so that their logarithms are finite: the rounding of float32."""
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Baselines:
    """The best simple score, whose it is, the constant answer's score, and the metric's standard error.

    `span` is the distance from the constant answer to a perfect one, in units of the metric (to the best simple
    one, where the metric is unbounded and one is better than the constant answer). `constant` tells that nothing
    but the constant answer could be tried; `prior` is NaN where a metric of the user's own could not be asked.
    """

    name: str
    best: float
    prior: float
    error: float
    span: float
    constant: bool


@memo(of="model")
def baselines(subject: Subject) -> Baselines:
    """Score a constant answer and a simple model on the validation split.

    That is a linear model on at most 4,000 training rows, flattened and standardised: of the counts of tokens where
    the model embeds them; one for each of several labels; through as few numbers as the network's narrowest part
    where several are predicted, which for an autoencoder are its principal components. For a language model it is
    the most frequent successor of each token. A metric of the user's own is asked as the target's outputs are.
    Other inputs and labels get the constant answer only. Computed once per subject.
    """
    return _measure(subject)


def _measure(subject: Subject) -> Baselines:
    recipe = subject.recipe
    metric = metric_of(recipe.task, recipe.training.metric)[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = _rows(subject)
        prior = prior_score(recipe, recipe.validation) if metric in METRICS else _constant(subject, rows)
        scores = [(title, score) for title, score in _models(subject, rows) if math.isfinite(score)]
    name, best = max([("a constant answer", prior), *scores], key=lambda entry: entry[1])
    error = error_of(recipe, best)
    bounded = metric in METRICS and metric not in ("mse", "mae")
    span = max(LEAST_SPAN, 1.0 - prior if math.isfinite(prior) else 1.0) if bounded else abs(best - prior)
    if span == 0.0 and metric in METRICS:
        span = abs(prior)  # the perfect error is 0
    return Baselines(name, best, prior, error, span, constant=not scores)


def error_of(recipe: Recipe, score: float) -> float:
    """The standard error of a score on the validation split, where each of several labels counts."""
    metric = metric_of(recipe.task, recipe.training.metric)[0]
    y = recipe.validation.y
    return standard_error(metric, [score], y.numel() if metric == "label_accuracy" else len(y))


def _rows(subject: Subject) -> tuple[Array, Array] | None:
    return training_rows(subject, MOST_ROWS, MOST_COLUMNS) if subject.recipe.task != "language_model" else None


def _constant(subject: Subject, rows: tuple[Array, Array] | None) -> float:
    """What a metric of the user's own gives a constant answer; NaN where it can't be asked."""
    from sklearn.dummy import DummyClassifier, DummyRegressor

    if rows is None:
        return math.nan
    score = score_of(
        subject, (DummyClassifier(strategy="prior") if subject.recipe.classes else DummyRegressor()).fit(*rows)
    )
    return score if math.isfinite(score) else math.nan


def _models(subject: Subject, rows: tuple[Array, Array] | None) -> list[tuple[str, float]]:
    if subject.recipe.task == "language_model":
        return _successors(subject.recipe)
    return (
        []
        if rows is None or _samples(subject)
        else [("a linear model", score_of(subject, _linear(subject).fit(*rows)))]
    )


def _samples(subject: Subject) -> bool:
    """Whether the network restores its inputs through numbers that it draws, which a linear model does not."""
    recipe = subject.recipe
    if not subject.target.by_gradients:
        return False
    return bool(recipe.train.x.shape == recipe.train.y.shape and stochastic(subject))


def _linear(subject: Subject) -> Any:
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if subject.recipe.classes:
        return make_pipeline(
            StandardScaler(), LogisticRegression(max_iter=200, class_weight=_evening_weights(subject.recipe))
        )
    columns = math.prod(subject.recipe.train.y.shape[1:])
    narrow = subject.recipe.task == "regression" and columns > 1 and subject.target.by_gradients
    linear = make_pipeline(StandardScaler(), Ridge())
    return _Through(linear, narrowest(subject, columns)) if narrow else linear


def _evening_weights(recipe: Recipe) -> dict[int, float] | None:
    """The class weights of the target's loss, where they make the classes count more alike.

    Then its errors are meant to be those of such a loss.
    """
    weights, counts = (
        getattr(recipe.training.loss, "weight", None),
        np.bincount(recipe.train.y.cpu().numpy(), minlength=recipe.classes),
    )
    if weights is None or weights.shape != counts.shape or not bool((weights > 0).all()):
        return None
    mass = weights.detach().cpu().numpy() * counts
    even = mass.max() * max(counts.min(), 1) < counts.max() * mass.min()
    return dict(enumerate(weights.tolist())) if even else None


class _Through:
    """A linear model whose predictions pass through `width` numbers: reduced-rank regression (Izenman 1975).

    On its own inputs, these are their principal components.
    """

    def __init__(self, linear: Any, width: int) -> None:
        self.linear, self.width = linear, width

    def fit(self, x: Array, y: Array) -> _Through:
        predicted = self.linear.fit(x, y).predict(x)
        self.mean = predicted.mean(0)
        self.axes = np.linalg.svd((predicted - self.mean).T @ (predicted - self.mean))[0][:, : self.width]
        return self

    def predict(self, x: Array) -> Array:
        return np.asarray((self.linear.predict(x) - self.mean) @ self.axes @ self.axes.T + self.mean)


def training_rows(subject: Subject, most_rows: int, most_columns: int) -> tuple[Array, Array] | None:
    """Training rows, evenly spaced, as a matrix of finite numbers, with their labels as one or several columns.

    None where a simple model can't take them.

    Several labels become numbers of −1 and 1.
    """
    recipe = subject.recipe
    rows = recipe.train.rows(slice(None, None, max(1, math.ceil(len(recipe.train) / most_rows))))
    x, y = _matrix(subject, rows.x, most_columns), rows.y.cpu().numpy()
    if x is None or not np.isfinite(x).all() or not np.isfinite(y).all() or len(x) < 2:
        return None
    if recipe.task == "classification":
        return (x, y) if recipe.train.y.ndim == 1 and len(np.unique(y)) > 1 else None
    y = y.astype(np.float64).reshape(len(y), -1)
    if y.shape[1] > MOST_COLUMNS:
        return None
    return x, 2 * y - 1 if recipe.task == "multilabel" else y[:, 0] if y.shape[1] == 1 else y


def _matrix(subject: Subject, x: Any, most_columns: int) -> Array | None:
    """Inputs `(N, …)` as a matrix: numbers flattened, token ids `(N, T)` of a model that embeds them counted.

    None for too many columns.
    """
    x = x.cpu()
    if (inputs := inputs_of_call(subject.model)) is not None and not isinstance(inputs, Samples):
        known = inputs.features(x)
        return None if known is None or known.shape[1] > most_columns else known.numpy().astype(np.float64)
    if not x.is_floating_point() and subject.recipe.inputs_for(subject.model, x[:1]).is_floating_point():
        x = x.float()  # whole numbers that the model takes as numbers
    if x.is_floating_point():
        flat = np.asarray(x.flatten(1).numpy() if x.ndim > 1 else x[:, None].numpy(), dtype=np.float64)
        return flat if flat.shape[1] <= most_columns else None
    words = int(subject.recipe.train.x.max()) + 1
    if x.ndim != 2 or int(x.min()) < 0 or words > MOST_WORDS:
        return None
    ids = x.numpy()
    counts = np.zeros((len(ids), words + 1))
    np.add.at(counts, (np.arange(len(ids))[:, None], np.minimum(ids, words)), 1.0)
    return counts


def _successors(recipe: Recipe) -> list[tuple[str, float]]:
    """The accuracy of answering each token with its most frequent successor in train."""
    name, _ = metric_of(recipe.task, recipe.training.metric)
    x, y = recipe.train.x.numpy(), recipe.train.y.numpy()
    held, wanted = recipe.validation.x.numpy(), recipe.validation.y.numpy()
    if name != "accuracy" or x.shape != y.shape or x.dtype.kind not in "iu" or held.shape != wanted.shape:
        return []
    x, y, held, wanted = x[y != IGNORED], y[y != IGNORED], held[wanted != IGNORED], wanted[wanted != IGNORED]
    if not len(x) or not len(held):
        return []
    pairs, counts = np.unique(np.stack([x, y]), axis=1, return_counts=True)
    order = np.argsort(counts, kind="stable")
    best = dict(zip(pairs[0, order].tolist(), pairs[1, order].tolist(), strict=True))
    answers = np.array([best.get(token, -1) for token in held.tolist()])
    return [("the most frequent successor", float((answers == wanted).mean()))]


def score_of(subject: Subject, model: Any) -> float:
    """The recipe's metric of a fitted scikit-learn model on validation; −∞ where it can't be measured."""
    recipe = subject.recipe
    name, metric = metric_of(recipe.task, recipe.training.metric)
    x, y = _matrix(subject, recipe.validation.x, MOST_COLUMNS), recipe.validation.y.cpu().numpy()
    if x is None or not len(x) or not np.isfinite(x).all():
        return -math.inf
    if not recipe.classes:
        return _asked(name, metric, np.asarray(model.predict(x), dtype=np.float32).reshape(y.shape), y)
    outputs = np.zeros((len(x), max(recipe.classes, 2)))
    outputs[:, model.classes_.astype(int)] = model.predict_proba(x)
    if not subject.target.by_gradients:
        return _asked(name, metric, np.log(outputs.clip(TINY, 1.0)).astype(np.float32), y)
    if name not in METRICS and subject.outputs.ndim > 1 and subject.outputs.shape[1] not in (1, outputs.shape[1]):
        return -math.inf  # as an ordinal model's, with an output per threshold
    return _asked(name, metric, outputs if name in METRICS else _like(subject.outputs, outputs), y)


def _asked(name: str, metric: Any, outputs: Array, y: Array) -> float:
    try:
        return float(metric(outputs, y))
    except BaseException as error:  # the user's metric wants other outputs
        pass_on(error)
        if name in METRICS:
            raise
        return -math.inf


def _like(outputs: Any, shares: Array) -> Array:
    """Probabilities `(N, K)` as the target gives them: shares or logits, of each class or of the second alone."""
    one = outputs.ndim == 1 or outputs.shape[-1] == 1
    probable = bool((outputs >= 0).all() and (outputs <= 1).all())
    safe = shares.clip(TINY, 1 - TINY)
    logits = np.log(safe[:, 1:2]) - np.log(1 - safe[:, 1:2]) if one else np.log(safe)
    found = (shares[:, 1:2] if one else shares) if probable else logits
    return np.asarray(found.reshape(len(shares), *outputs.shape[1:]), dtype=np.float32)
