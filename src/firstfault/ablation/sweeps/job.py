"""One training of a sweep, in whatever process it runs, and what is left of it."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from firstfault.ablation.confirm.trials import BASELINE, Arm, Bench, Run, Trial, settings_of
from firstfault.ablation.swap import swaps
from firstfault.ablation.sweeps.space import Values, at
from firstfault.errors import FirstfaultError, UserCodeError
from firstfault.subject.replay import replayed
from firstfault.subject.subject import Subject
from firstfault.training.chance import floor
from firstfault.training.loop import Epoch, train
from firstfault.training.observer import Enough, Follower
from firstfault.training.recipe import Recipe
from firstfault.values import Json

OnEpoch = Callable[[int, float], bool]


@dataclass(frozen=True)
class Job:
    """A training to be done: the unchanged target, a swap by its name, or other values of some settings.

    `number` is the trial's in its study. With `trial_id`, its epochs are reported there, and it may be pruned.
    """

    number: int
    factor: str
    change: str
    seed: int
    values: Values | None = None
    trial_id: int | None = None


@dataclass(frozen=True)
class Measured:
    """What a training gave: its score (that of guessing where it failed), and how it ended.

    `before` is the unchanged target's score where the change is judged by another metric or on other rows;
    `epochs` are the scores after each epoch, where they were taken.
    """

    score: float
    finite: bool
    before: float | None = None
    seconds: float = 0.0
    settings: Json = field(default_factory=dict)
    epochs: tuple[float, ...] = ()
    pruned: bool = False


@dataclass(frozen=True)
class SweepTrial(Trial):
    """A training of a sweep that has ended: complete, pruned or failed, with the varied values and the score of every
    epoch.
    """

    number: int = 0
    state: str = "complete"
    values: Values = field(default_factory=dict)
    epochs: tuple[float, ...] = ()

    @classmethod
    def of(cls, job: Job, measured: Measured) -> SweepTrial:
        """The trial of a job that was done."""
        state = "pruned" if measured.pruned else "complete" if measured.finite else "failed"
        score = measured.score if measured.finite else math.nan
        return cls(
            job.factor,
            job.change,
            job.seed,
            score,
            measured.seconds,
            measured.settings,
            job.number,
            state,
            job.values or {},
            measured.epochs,
        )


class Measuring:
    """Does jobs on one subject. `follow` gives, for a job with a `trial_id`, what is told of each epoch and says
    whether to stop.
    """

    def __init__(self, subject: Subject, follow: Callable[[int], OnEpoch] | None = None) -> None:
        self.subject, self.bench, self.follow = subject, Bench(subject, 1), follow
        self._arms: dict[str, Arm] = {}

    def __call__(self, job: Job) -> Measured:
        if job.factor == BASELINE:
            return _measured(self.bench.recipe, self.bench.baseline(job.seed))
        if job.trial_id is not None and self.follow is not None:
            return _searched(at(self.bench.recipe, job.values or {}), job.seed, self.follow(job.trial_id))
        arm = self.arm(job)
        run = self.bench.run(arm, job.seed)
        alike = arm.base is None and self.bench.judges_alike(arm)
        return _measured(arm.recipe, run, None if alike else self.bench.before(arm, job.seed))

    def arm(self, job: Job) -> Arm:
        """The changed recipe of a job, made once.

        Raises:
            Missing: where the swap doesn't apply.
            UserCodeError: when the target's code raises.
        """
        if job.factor not in self._arms:
            self._arms[job.factor] = self._made(job)
        return self._arms[job.factor]

    def _made(self, job: Job) -> Arm:
        if job.values is not None:
            return Arm(job.factor, job.change, at(self.bench.recipe, job.values))
        kind, own_loop = swaps()[job.factor], self.bench.recipe.training.fit is not None
        if own_loop:
            self.subject.get("trained")  # the user's `fit` is observed once, so that swaps can vary its replay
        recipe = kind.apply(self.subject)
        base = replayed(self.subject) if own_loop and recipe.training.fit is None and not kind.replaces_loop else None
        return Arm(kind.name, kind.change, recipe, kind.same_validation, base)


def failed(recipe: Recipe) -> Measured:
    """What a training counts as whose process has died: as guessing."""
    return Measured(floor(recipe, math.nan), False)


def _measured(recipe: Recipe, run: Run, before: float | None = None) -> Measured:
    return Measured(floor(recipe, run.score), math.isfinite(run.score), before, run.seconds, settings_of(recipe))


class _Followed(Follower):
    """Hands on the score of every epoch, and ends a training that the search gives up."""

    def __init__(self, on_epoch: OnEpoch) -> None:
        self.on_epoch, self.scores = on_epoch, list[float]()

    def end_epoch(self, epoch: Epoch) -> None:
        """Tell the score; a user's `fit` may tell its last epoch twice."""
        self.scores.append(epoch.validation_metric)
        if math.isfinite(epoch.validation_metric) and self.on_epoch(len(self.scores), epoch.validation_metric):
            raise Enough


def _searched(recipe: Recipe, seed: int, on_epoch: OnEpoch) -> Measured:
    follower, started = _Followed(on_epoch), time.perf_counter()
    settings = settings_of(recipe)
    try:
        run = Run.of(train(recipe, seed, probe=follower))
    except (UserCodeError, FirstfaultError):
        run = Run(None, math.nan, time.perf_counter() - started, crashed=True)
    except Enough:
        score, seconds = follower.scores[-1], time.perf_counter() - started
        return Measured(floor(recipe, score), True, None, seconds, settings, tuple(follower.scores), pruned=True)
    epochs = tuple(score for score in follower.scores if math.isfinite(score))
    return Measured(floor(recipe, run.score), math.isfinite(run.score), None, run.seconds, settings, epochs)


def digest(recipe: Recipe) -> str:
    """A short digest of the prepared tensors, by which processes know that they train on the same."""
    sha = hashlib.sha256()
    for split in (recipe.train, recipe.validation):
        for tensor in (split.x, split.y):
            sha.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return sha.hexdigest()[:12]
