"""Trials: one training of one recipe with one seed, scored on validation, higher is better."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from firstfault.clock import Deadline, cpu_seconds
from firstfault.errors import FirstfaultError, UserCodeError
from firstfault.interrupts import pass_on
from firstfault.metrics import metric_of
from firstfault.subject.memo import memo
from firstfault.subject.replay import baseline_runs
from firstfault.subject.subject import Subject
from firstfault.training.chance import floor
from firstfault.training.evaluation import predict
from firstfault.training.loop import Trained, train
from firstfault.training.recipe import Recipe, Tensors

BASELINE = "baseline"
LEAST_ROWS = 0.2
"""The share of the rows that is kept at least: of fewer, a sound target too may learn little. A choice of ours."""
LEAST_EPOCHS = 0.4
"""The share of the epochs, and two of them, that is kept at least: in fewer, a gain is but haste. A choice of ours."""
NEARLY_FULL = 0.8
"""From here on nothing is cut: to save the last fifth would put every gain in doubt (the rule `short_gain`)."""


@dataclass(frozen=True)
class Trial:
    """One training: which factor was changed and how, the seed, the score (NaN when it crashed), the seconds.

    `params` are the training settings that it ran with, as plain values.
    """

    factor: str
    change: str
    seed: int
    score: float
    seconds: float
    params: Mapping[str, Any] = field(default_factory=dict)


OnTrial = Callable[[Trial], None]


@dataclass(frozen=True)
class Scale:
    """The share of the training rows and of the epochs that both arms are trained on."""

    rows: float = 1.0
    epochs: float = 1.0

    @property
    def full(self) -> bool:
        """Whether nothing is left out."""
        return self.rows >= 1 and self.epochs >= 1

    @classmethod
    def to_fit(cls, share: float, epochs: int | None) -> Scale:
        """The scale that costs about `share` of a full training: fewer rows first, then fewer epochs.

        `epochs` is the length of a full training, None where it can't be cut.
        """
        if share >= NEARLY_FULL:
            return cls()
        rows = max(LEAST_ROWS, share)
        if epochs is None or share >= LEAST_ROWS:
            return cls(rows)
        return cls(rows, max(LEAST_EPOCHS, share / rows, min(1.0, 2 / epochs)))

    def __str__(self) -> str:
        shares = {"rows": self.rows, "epochs": self.epochs}
        parts = [f"{share:.0%} of the {name}" for name, share in shares.items() if share < 1]
        return " and ".join(parts) or "all rows and epochs"

    def of(self, recipe: Recipe, seed: int) -> Recipe:
        """The recipe at this scale; the rows are drawn by seed, and keep their order."""
        if self.epochs < 1 and recipe.training.fit is None:
            recipe = recipe.with_training(epochs=max(1, round(recipe.training.epochs * self.epochs)))
        if self.rows >= 1:
            return recipe
        order = torch.randperm(len(recipe.train), generator=torch.Generator().manual_seed(seed))
        keep = order[: max(1, math.ceil(len(order) * self.rows))].sort().values
        return replace(recipe, train=recipe.train.rows(keep))


@dataclass(frozen=True)
class Run:
    """What is left of one training. `score` is NaN when it crashed, ended in NaN, or ended no epoch.

    `seconds` are by the wall clock, `cpu` those of work. `done` is the share of its epochs that were run; below 1
    without a crash, the deadline cut it.
    """

    model: nn.Module | None
    score: float
    seconds: float
    crashed: bool = False
    done: float = 1.0
    cpu: float = 0.0

    @property
    def cut(self) -> bool:
        """Whether the deadline ended it."""
        return self.done < 1 and not self.crashed

    @classmethod
    def of(cls, trained: Trained) -> Run:
        """The run of a training."""
        crashed = trained.crash is not None
        score = math.nan if crashed else trained.score
        return cls(trained.model, score, trained.seconds, crashed, trained.share, trained.cpu or trained.seconds)


@dataclass(frozen=True)
class Arm:
    """One changed recipe: the factor's name, the change in words, the recipe, and how it is judged.

    With `same_validation`, the unchanged model is judged on this recipe's validation split too. `base` is the
    unchanged recipe where that is not the target's own: the replay of a user's `fit`.
    """

    factor: str
    change: str
    recipe: Recipe
    same_validation: bool = False
    base: Recipe | None = None


@memo(of="model")
def _replay_runs(subject: Subject) -> dict[tuple[int, Scale], Run]:
    """The trainings of the replay of a user's `fit`, by seed and scale, as they are made."""
    return {}


class Bench:
    """Runs trials of one subject; the unchanged target is trained once per seed and scale, and kept there."""

    def __init__(
        self, subject: Subject, seeds: int, on_trial: OnTrial | None = None, scale: Scale | None = None
    ) -> None:
        self.subject, self.recipe = subject, subject.recipe
        self.seeds = [self.recipe.training.seed + number for number in range(seeds)]
        self.on_trial = on_trial
        self.scale = scale or Scale()
        self._kept: dict[tuple[int, Scale], Run] = baseline_runs(subject)
        self._replays: dict[tuple[int, Scale], Run] = _replay_runs(subject)

    @property
    def metric(self) -> str:
        """The name of the target's own metric."""
        return metric_of(self.recipe.task, self.recipe.training.metric)[0]

    def baseline(self, seed: int, deadline: Deadline | None = None) -> Run:
        """The training of the unchanged recipe with one seed; one that the deadline cut is not kept."""
        return self._once(
            self._kept,
            seed,
            lambda: self._observed(seed) or self._train(BASELINE, "unchanged", self.recipe, seed, deadline),
        )

    def unchanged(self, arm: Arm, seed: int, deadline: Deadline | None = None) -> Run:
        """The training beside which an arm is put: of the target, or of the arm's own base."""
        if arm.base is None:
            return self.baseline(seed, deadline)
        base = arm.base
        return self._once(self._replays, seed, lambda: self._train(BASELINE, "replayed", base, seed, deadline))

    def _once(self, kept: dict[tuple[int, Scale], Run], seed: int, train_it: Callable[[], Run]) -> Run:
        key = (seed, self.scale)
        if key not in kept:
            run = train_it()
            if run.cut:
                return run
            kept[key] = run
        return kept[key]

    def full_score(self) -> float | None:
        """The score of the unchanged target trained in full with its own seed, where that was done."""
        run = self._kept.get((self.seeds[0], Scale()))
        return None if run is None else floor(self.recipe, run.score)

    def judges_alike(self, arm: Arm) -> bool:
        """Whether an arm is judged by the target's own metric on its own validation split."""
        metric, _ = metric_of(arm.recipe.task, arm.recipe.training.metric)
        return not arm.same_validation and metric == self.metric

    def before(self, arm: Arm, seed: int, run: Run | None = None) -> float:
        """The score of the unchanged target (of `run`) beside an arm: by its metric, on its validation if so said."""
        run = run or self.unchanged(arm, seed)
        base = arm.base or self.recipe
        if self.judges_alike(arm):
            return floor(base, run.score)
        judged = arm.recipe if arm.same_validation else base.with_training(metric=arm.recipe.training.metric)
        return floor(judged, score_on(run.model, judged, judged.validation))

    def run(self, arm: Arm, seed: int, deadline: Deadline | None = None) -> Run:
        """The training of a changed recipe with one seed."""
        return self._train(arm.factor, arm.change, arm.recipe, seed, deadline)

    def _observed(self, seed: int) -> Run | None:
        """The training that the checks have looked at, where it is the same."""
        trained = self.subject.made(Subject.trained)
        if (
            not isinstance(trained, Trained)
            or trained.stopped
            or seed != self.recipe.training.seed
            or not self.scale.full
        ):
            return None
        run = Run.of(trained)
        self._tell(BASELINE, "unchanged", self.recipe, seed, run)
        return run

    def _train(self, factor: str, change: str, recipe: Recipe, seed: int, deadline: Deadline | None) -> Run:
        started, worked = time.perf_counter(), cpu_seconds()
        recipe = self.scale.of(recipe, seed)
        try:
            run = Run.of(train(recipe, seed, deadline=deadline))
        except (UserCodeError, FirstfaultError):
            run = Run(None, math.nan, time.perf_counter() - started, crashed=True, cpu=cpu_seconds() - worked)
        self._tell(factor, change, recipe, seed, run)
        return run

    def _tell(self, factor: str, change: str, recipe: Recipe, seed: int, run: Run) -> None:
        if self.on_trial is not None:
            self.on_trial(Trial(factor, change, seed, run.score, run.seconds, settings_of(recipe)))


def settings_of(recipe: Recipe) -> dict[str, Any]:
    """The training settings of a recipe as plain values; callables by their names."""
    settings = recipe.training
    values = {
        "epochs": settings.epochs,
        "batch_size": settings.batch_size,
        "shuffle": settings.shuffle,
        "clip_norm": settings.clip_norm,
        "rows": len(recipe.train),
        "metric": settings.metric,
        "loss": settings.loss,
        "scheduler": settings.scheduler,
        "fit": settings.fit,
        **_optimizer(settings.optimizer),
    }
    return {name: _named(value) for name, value in values.items() if value is not None}


def _optimizer(make: Callable[..., Any] | None) -> dict[str, Any]:
    """Kind and rate of the optimizer that a factory makes; its name where that can't be made alone."""
    try:
        built = (make or torch.optim.Adam)([nn.Parameter(torch.zeros(1))])
        return {"optimizer": type(built).__name__, "lr": float(built.param_groups[0]["lr"])}
    except BaseException as error:  # the user's factory wants its own model's parameters
        pass_on(error)
        return {"optimizer": make}


def _named(value: Any) -> Any:
    if not callable(value):
        return value
    inner = getattr(value, "func", value)  # of a partial
    name = getattr(inner, "__name__", type(inner).__name__)
    given = getattr(value, "keywords", {}) or {}
    return f"{name}({', '.join(f'{key}={entry!r:.20}' for key, entry in given.items())})" if given else name


def score_on(model: nn.Module | None, recipe: Recipe, tensors: Tensors) -> float:
    """The recipe's metric of any model on some tensors; NaN when the model can't answer, or answers NaN."""
    if model is None or len(tensors) == 0:
        return math.nan
    try:
        outputs = predict(recipe, model, tensors.x)
        if not torch.isfinite(outputs).all():
            return math.nan
        _, metric = metric_of(recipe.task, recipe.training.metric)
        return metric(outputs.float().cpu().numpy(), tensors.y.cpu().numpy())
    except BaseException as error:  # the user's model on inputs it was not made for
        pass_on(error)
        return math.nan
