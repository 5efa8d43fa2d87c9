"""The score of guessing without looking at the inputs: what a training that failed counts as."""

from __future__ import annotations

import math

import numpy as np

from firstfault.metrics import IGNORED, METRICS, metric_of
from firstfault.training.recipe import Recipe, Tensors

UNBOUNDED = ("r2", "mse", "mae")


def floor(recipe: Recipe, score: float) -> float:
    """A score, or for a training that crashed or ended in NaN the score of guessing.

    Scores without a lower bound (R², errors) count at most one span worse than guessing, so that one
    training that exploded does not hide every difference behind its own noise.
    """
    name, _ = metric_of(recipe.task, recipe.training.metric)
    if math.isfinite(score) and name not in UNBOUNDED:
        return score
    prior = prior_score(recipe, recipe.validation)
    if not math.isfinite(score):
        return prior
    return max(score, prior - 1.0 if name == "r2" else 2.0 * prior)


def prior_score(recipe: Recipe, tensors: Tensors) -> float:
    """The metric of the best constant answer: the most frequent class, or the mean."""
    name, metric = metric_of(recipe.task, recipe.training.metric)
    y = tensors.y.cpu().numpy()
    if name not in METRICS or len(y) == 0 or not np.isfinite(y).all():
        return 0.0
    if recipe.task in ("classification", "language_model"):
        values, counts = np.unique(y[y != IGNORED], return_counts=True)
        if not len(values):
            return 0.0
        if name == "accuracy":
            return float(counts.max() / counts.sum())
        width = max(int(values.max()) + 1, recipe.classes, 2)
        constant = np.zeros((*y.shape, width))
        constant[..., int(values[counts.argmax()])] = 1.0
    else:
        constant = np.broadcast_to(recipe.train.y.float().mean(0).cpu().numpy(), y.shape)
    try:
        return float(metric(np.asarray(constant), y))
    except ValueError:
        return 0.0
