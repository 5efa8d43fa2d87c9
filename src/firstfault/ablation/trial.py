"""Trials: one training of one recipe with one seed, scored on validation, higher is better."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from firstfault.errors import UserCodeError
from firstfault.loop import evaluate, train
from firstfault.metrics import METRICS, metric_of
from firstfault.recipe import Recipe, Tensors

SMALLEST_SHARE = 0.2


@dataclass(frozen=True)
class Trial:
    """One training: which factor was changed and how, the seed, the score (NaN when it crashed), the seconds."""

    factor: str
    change: str
    seed: int
    score: float
    seconds: float


OnTrial = Callable[[Trial], None]


class Bench:
    """Runs trials of one target, and keeps those of the unchanged recipe for every comparison.

    `share` < 1 trains both arms on that share of the rows, so that a slow target fits the budget.
    """

    def __init__(self, recipe: Recipe, seeds: int, on_trial: OnTrial | None = None, share: float = 1.0) -> None:
        self.base = recipe
        self.seeds = [recipe.training.seed + number for number in range(seeds)]
        self.on_trial = on_trial
        self.share = share
        self.models: dict[int, Any] = {}

    def baseline(self, judged_by: Recipe | None = None, seeds: int | None = None) -> list[float]:
        """Scores of the unchanged recipe per seed; on `judged_by`'s validation and metric where given."""
        scores = []
        for seed in self.seeds[:seeds]:
            if seed not in self.models:
                self.models[seed] = self._train(self.base, seed, "baseline", "unchanged")
            model, score = self.models[seed]
            scores.append(self._judge(model, judged_by) if judged_by is not None else score)
        return [floor(self.base, score) for score in scores]

    def scores(self, factor: str, change: str, recipe: Recipe, seeds: int | None = None) -> list[float]:
        """Scores of a changed recipe per seed."""
        return [
            floor(recipe, self._train(recipe, seed, factor, change)[1]) for seed in self.seeds[:seeds]
        ]

    def _train(self, recipe: Recipe, seed: int, factor: str, change: str) -> tuple[Any, float]:
        started = time.perf_counter()
        try:
            trained = train(thin(recipe, self.share, seed), seed)
            score, model = trained.score, trained.model
            if trained.crash is not None:
                score = float("nan")
        except UserCodeError:
            score, model = float("nan"), None
        if self.on_trial is not None:
            self.on_trial(Trial(factor, change, seed, score, time.perf_counter() - started))
        return model, score

    def _judge(self, model: Any, recipe: Recipe) -> float:
        if model is None:
            return float("nan")
        try:
            return evaluate(recipe, model, recipe.validation)[1]
        except (RuntimeError, ValueError, IndexError):
            return float("nan")


def thin(recipe: Recipe, share: float, seed: int) -> Recipe:
    """The recipe with only that share of its training rows, drawn by seed."""
    if share >= 1:
        return recipe
    order = torch.randperm(len(recipe.train), generator=torch.Generator().manual_seed(seed))
    keep = order[: max(1, math.ceil(len(order) * share))].sort().values
    return replace(recipe, train=recipe.train.rows(keep))


def floor(recipe: Recipe, score: float) -> float:
    """A score, or for a training that crashed or ended in NaN the score of guessing without the inputs."""
    return score if math.isfinite(score) else prior_score(recipe, recipe.validation)


def prior_score(recipe: Recipe, tensors: Tensors) -> float:
    """The metric of the best constant answer: the most frequent class, or the mean."""
    name, metric = metric_of(recipe.task, recipe.training.metric)
    y = tensors.y.cpu().numpy()
    if name not in METRICS or len(y) == 0 or not np.isfinite(y).all():
        return 0.0
    if recipe.task in ("classification", "language_model"):
        values, counts = np.unique(y, return_counts=True)
        width = max(int(values.max()) + 1, recipe.classes, 2)
        constant = np.zeros((*y.shape, width))
        constant[..., int(values[counts.argmax()])] = 1.0
    else:
        constant = np.broadcast_to(recipe.train.y.float().mean(0).cpu().numpy(), y.shape)
    try:
        return float(metric(np.asarray(constant), y))
    except ValueError:
        return 0.0
