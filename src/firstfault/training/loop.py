"""Training a recipe: firstfault's own loop, or the user's `fit` between the same two loaders."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from firstfault.clock import Deadline, cpu_seconds
from firstfault.errors import TrainingStopped, UserCodeError
from firstfault.finding import Layer
from firstfault.interrupts import pass_on
from firstfault.metrics import metric_of
from firstfault.training.batches import batches_of, through_loader
from firstfault.training.boosting import by_rounds
from firstfault.training.estimators import EstimatorModel
from firstfault.training.evaluation import EVALUATION_BATCH, evaluate, scores_of
from firstfault.training.recipe import Recipe, Tensors, inputs_made, outputs_of

KEPT = 0.9
"""The share of the training rows that another seed than the target's own draws for an estimator."""


@dataclass(frozen=True)
class Epoch:
    """The state after one epoch: losses and metric on train and validation, in eval mode."""

    number: int
    train_loss: float
    train_metric: float
    validation_loss: float
    validation_metric: float


@dataclass
class Trained:
    """A trained model and the curve that led to it.

    `seconds` are by the wall clock, `cpu` the CPU seconds of the thread that trained, and of its loader's workers.
    `crash` is the exception that ended the training early, if one did. `share` is how much of its epochs was run: below
    1 where the deadline cut it; of a user's `fit`, which alone knows how long it is, a guess by the declared epochs.
    `stopped` is why an action on a finding, or a violation of safety, ended it.
    """

    model: nn.Module
    metric: str
    epochs: list[Epoch] = field(default_factory=list)
    seconds: float = 0.0
    cpu: float = 0.0
    share: float = 1.0
    crash: UserCodeError | None = None
    stopped: str = ""
    record: Any = None  # probe.record.Record when the training was observed

    @property
    def score(self) -> float:
        """The metric on validation at the end; NaN when no epoch ended."""
        return self.epochs[-1].validation_metric if self.epochs else float("nan")


def train(
    recipe: Recipe, seed: int | None = None, *, probe: Any = None, deadline: Deadline | None = None, course: Any = None
) -> Trained:
    """Train a fresh model of `recipe`, and evaluate it after every epoch.

    Args:
        recipe: what to train.
        seed: of initialisation and order; the recipe's own when left out.
        probe: a `firstfault.probe.Probe` to observe with, or None.
        deadline: after which no further batch is trained on; the epoch ends there.
        course: a `firstfault.watcher.safety_monitor.Course` that evaluates safety on the way, or None.

    The user's code raising ends the training; what was measured until then is returned, with the
    exception as `crash`.
    """
    seed = recipe.training.seed if seed is None else seed
    started, worked = time.perf_counter(), cpu_seconds()
    model = recipe.build(seed)
    name, _ = metric_of(recipe.task, recipe.training.metric)
    trained = Trained(model, name)
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    if isinstance(model, EstimatorModel):
        return _fitted(recipe, trained, model, seed, started)
    observed = probe.observe(model, recipe) if probe is not None else contextlib.nullcontext()
    run = _run_fit if recipe.training.fit is not None else _run_own
    with observed:
        # a first call would initialise those with other numbers
        if course is not None and not any(map(is_lazy, model.parameters())):
            course.start(model, lambda: evaluate(recipe, model, *through_loader(recipe, recipe.validation))[1])
        try:
            with _letting_go():
                run(recipe, trained, seed, probe, deadline, course)
        except UserCodeError as known:
            trained.crash = known
        except TrainingStopped as stopped:
            trained.stopped = str(stopped)
            if probe is None or probe.record.epoch_ends[-1:] != [probe.record.steps]:
                _end_epoch(recipe, trained, probe)
        except _Cut:
            trained.share = min(0.9, max(1, len(trained.epochs)) / (recipe.training.epochs + 1))
            _end_epoch(recipe, trained, probe)
        except BaseException as error:
            pass_on(error)
            trained.crash = UserCodeError(Layer.TRAINING, "training", error, recipe.root)
    trained.model.eval()
    trained.seconds, trained.cpu = time.perf_counter() - started, cpu_seconds() - worked
    trained.record = getattr(probe, "record", None)
    return trained


@contextlib.contextmanager
def _letting_go() -> Iterator[None]:
    """Free what a training held that an exception ends, before anything else is done.

    A loader whose workers are left to the garbage collector waits 5 s for each of them: its queues are closed before
    they are told to end.
    """
    try:
        yield
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)
        raise


def _fitted(recipe: Recipe, trained: Trained, model: EstimatorModel, seed: int, started: float) -> Trained:
    """An estimator fitted in one call: on all rows with the target's own seed, on nine tenths with another."""
    rows = recipe.train if seed == recipe.training.seed else _drawn(recipe.train, seed)
    try:
        model.fit(rows.x, rows.y, (recipe.validation.x, recipe.validation.y))
        held = rows.rows(slice(max(len(recipe.validation) or EVALUATION_BATCH, 256)))
        for at_train, at_validation in zip(
            by_rounds(model, held.x), by_rounds(model, recipe.validation.x), strict=True
        ):
            scores = (*scores_of(recipe, at_train, held.y), *scores_of(recipe, at_validation, recipe.validation.y))
            trained.epochs.append(Epoch(len(trained.epochs) + 1, *scores))
        if not trained.epochs:
            _end_epoch(recipe, trained, None)
    except BaseException as error:
        pass_on(error)
        trained.crash = UserCodeError(Layer.TRAINING, "the estimator's fit", error, recipe.root)
    trained.seconds = time.perf_counter() - started
    return trained


def _drawn(train: Tensors, seed: int) -> Tensors:
    """Nine tenths of the rows: what an estimator that draws no numbers differs by from seed to seed."""
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
    return train.rows(order[: max(1, round(KEPT * len(order)))].sort().values)


def _run_own(recipe: Recipe, trained: Trained, seed: int, probe: Any, deadline: Deadline | None, course: Any) -> None:
    settings, model = recipe.training, trained.model
    make = settings.optimizer or torch.optim.Adam
    optimizer = _steppable("training.optimizer", make(model.parameters()))
    scheduler = _steppable("training.scheduler", settings.scheduler(optimizer)) if settings.scheduler else None
    batches = batches_of(recipe, "train", seed)
    for number in range(settings.epochs):
        model.train()
        done = 0
        for x, y in batches:
            _step(recipe, model, optimizer, x, y, probe)
            done += 1
            if _past(deadline):
                break
        if not done:
            raise ValueError("there must be at least one batch to train on, but there is none")
        if scheduler is not None:
            scheduler.step()
        _end_epoch(recipe, trained, probe, course)
        if _past(deadline):
            trained.share = (number + _share_of(batches, done)) / settings.epochs
            break


def _steppable(name: str, value: Any) -> Any:
    if not hasattr(value, "step"):
        raise TypeError(f"{name} must return an object with step(), but returned {type(value).__name__}")
    return value


def _past(deadline: Deadline | None) -> bool:
    return deadline is not None and deadline.passed


def _share_of(batches: Any, done: int) -> float:
    """How much of an epoch that many batches are; half, where nobody knows its length."""
    try:
        return min(1.0, done / max(len(batches), 1))
    except TypeError:
        return 0.5


class _Cut(BaseException):
    """The deadline has passed inside the user's `fit`; no `except Exception` of the user's stops it."""


def _step(recipe: Recipe, model: nn.Module, optimizer: Any, x: torch.Tensor, y: torch.Tensor, probe: Any) -> None:
    settings = recipe.training
    x = recipe.inputs_for(model, x)
    if settings.augment is not None:
        x = inputs_made("training.augment", settings.augment(x))
    optimizer.zero_grad()
    loss = recipe.loss(outputs_of(model(x)), y)
    if settings.penalty is not None:
        loss = loss + settings.penalty(model)
    if loss.numel() != 1:
        raise TypeError(f"training.loss must return one number, but returned {loss.numel()}; take their mean")
    loss.backward()  # type: ignore[no-untyped-call]
    if settings.clip_norm is not None:
        nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
    optimizer.step()


class _Watched:
    """A loader handed to the user's `fit`.

    It tells the probe whose batch is in hand, says when a pass ends, and ends at the deadline.
    """

    def __init__(
        self,
        batches: Iterable[Any],
        split: str,
        probe: Any,
        deadline: Deadline | None = None,
        on_pass: Callable[[], None] = lambda: None,
    ) -> None:
        self._batches, self._split, self._probe = batches, split, probe
        self._deadline, self._on_pass = deadline, on_pass

    def __iter__(self) -> Iterator[Any]:
        for batch in self._batches:
            if self._probe is not None:
                self._probe.split = self._split
            yield batch
            if _past(self._deadline):
                raise _Cut
        if self._probe is not None:
            self._probe.split = None
        self._on_pass()

    def __len__(self) -> int:
        return len(self._batches)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batches, name)


def _run_fit(recipe: Recipe, trained: Trained, seed: int, probe: Any, deadline: Deadline | None, course: Any) -> None:
    settings, model = recipe.training, trained.model
    batches, held_out = (batches_of(recipe, split, seed, model) for split in ("train", "validation"))
    assert settings.fit is not None
    result = settings.fit(
        model,
        _Watched(batches, "train", probe, deadline, lambda: _end_epoch(recipe, trained, probe, course)),
        _Watched(held_out, "validation", probe, deadline),
    )
    if isinstance(result, nn.Module):
        trained.model = result
    _end_epoch(recipe, trained, probe)


def _end_epoch(recipe: Recipe, trained: Trained, probe: Any, course: Any = None) -> None:
    with probe.paused() if probe is not None else contextlib.nullcontext():
        limit = len(recipe.validation) or EVALUATION_BATCH
        train_loss, train_metric = evaluate(
            recipe, trained.model, *through_loader(recipe, recipe.train.rows(slice(max(limit, 256))))
        )
        loss, metric = evaluate(recipe, trained.model, *through_loader(recipe, recipe.validation))
    epoch = Epoch(len(trained.epochs) + 1, train_loss, train_metric, loss, metric)
    trained.epochs.append(epoch)
    if probe is not None:
        probe.end_epoch(epoch)
    if course is not None:
        course.end_epoch(epoch.number, trained.model, lambda: metric)
