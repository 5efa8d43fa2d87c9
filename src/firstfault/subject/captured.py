"""A watched loop as a subject: its record, and what was captured of it as a recipe."""

from __future__ import annotations

import copy
import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from firstfault.errors import Missing, UserCodeError
from firstfault.finding import Layer
from firstfault.interrupts import of_user, pass_on
from firstfault.probe.capture import Capture
from firstfault.probe.captured_loss import task_of
from firstfault.probe.record import Record
from firstfault.probe.seen_models import SeenModel
from firstfault.subject.call_inputs import answers_to_pairs, one_tensor
from firstfault.subject.memo import memo
from firstfault.subject.subject import Subject
from firstfault.target.declaration import Target, Training
from firstfault.training.answers import EveryAnswer
from firstfault.training.evaluation import evaluate
from firstfault.training.label_variety import WITHIN, variety_within
from firstfault.training.loop import Epoch, Trained
from firstfault.training.one_tensor import Batches, inputs_of_call
from firstfault.training.recipe import Recipe, Tensors, outputs_of

FEWEST = 32
"""Samples: of fewer, the fifth that is held out would be less than six."""
MOST_STEPS = 300
"""Bounds the time of a replay, which repeats the captured batches over and over."""
HELD_OUT = 5
"""Every fifth captured sample is held out of the replay."""


def subject_of(
    name: str,
    folder: Path,
    root: Path,
    record: Record,
    capture: Capture,
    model: nn.Module | None,
    crash: BaseException | None,
) -> Subject:
    """A subject whose training is the one that was watched; what was not captured is missing, with the reason."""
    training = _training(capture, record)
    why_not = capture.why_not or (f"fewer than {FEWEST} samples were seen" if capture.samples < FEWEST else "")
    told = None if why_not else task_of(capture.loss_name, capture.y)
    task: Any = told or "classification"
    why_not = why_not or ("" if told else "its labels are neither numbers, nor classes of samples or tokens")
    start, x = capture.model, None
    if not why_not and start is not None and model is not None:
        called = one_tensor(start, capture.calls, capture.targets, capture.sizes, capture.answer)
        if called is None:
            why_not = "the model can't be called again with what it was given"
        elif answers_to_pairs(called, start):
            why_not = "the model has an output for each pair of samples"
        else:
            x, start, model = called.x, called.of(start), called.of(model)
    subject = Subject(Target(name, task=task, training=training, root=root), folder)
    subject.supply(seen_models, tuple(each for each in capture.seen if each.calls))
    failed = crash is not None and of_user(crash) and not (isinstance(crash, SystemExit) and crash.code in (None, 0))
    crashed = UserCodeError(Layer.TRAINING, "the script", crash, root) if crash is not None and failed else None
    if why_not or start is None or model is None:
        reason = Missing(f"the training can't be replayed: {why_not or 'no model was called'}")
        subject.supply(Subject.recipe_and_classes, reason)
        subject.supply(
            Subject.trained, Trained(nn.Identity(), "none", crash=crashed, record=record) if crashed else reason
        )
        subject.supply(Subject.record, record)
        subject.supply(unlabelled, _unlabelled(subject, capture, record, str(reason)))
        return subject
    assert x is not None
    recipe = recipe_of(capture, x, start, task, training, root)
    subject.supply(Subject.recipe_and_classes, (recipe, tuple(range(recipe.classes))))
    if capture.optimizer is None and not crashed and not _as_it_began(start, model):
        subject.supply(
            Subject.trained, Missing("the training can't be replayed: the loop changes its weights by itself")
        )
        subject.supply(Subject.record, record)
    else:
        subject.supply(Subject.trained, _trained(recipe, model, record, crashed))
    subject.supply(Subject.capture, capture)
    return subject


@memo(of="model")
def seen_models(subject: Subject) -> tuple[SeenModel, ...]:
    """The watched models as they began, with what they were given at first."""
    return ()


@memo(of="model")
def unlabelled(subject: Subject) -> tuple[Subject, ...]:
    """The watched models as subjects without labels and loss, where the training can't be replayed."""
    return ()


def _unlabelled(subject: Subject, capture: Capture, record: Record, why_not: str) -> tuple[Subject, ...]:
    """A subject for each model, for what needs neither labels nor loss: how it answers to its inputs."""
    seen = [each for each in capture.seen if each.calls]
    return tuple(made for each in seen if (made := _of_model(subject, each, why_not)) is not None)


def _of_model(subject: Subject, seen: SeenModel, why_not: str) -> Subject | None:
    called = one_tensor(seen.start, seen.calls[: len(seen.sizes)], [], seen.sizes, EveryAnswer())
    if called is None:
        return None
    x, start = called.x, called.of(seen.start)
    target, training = subject.target, Training(batch_size=len(x))
    made = Subject(Target(target.name, task="regression", training=training, root=target.root), subject.folder)
    rows = Tensors(x, torch.zeros(len(x), 1))
    recipe = Recipe("regression", rows, rows, rows, functools.partial(copy.deepcopy, start), training, 0, target.root)
    made.supply(Subject.recipe_and_classes, (recipe, ()))
    made.supply(Subject.labels, Missing(why_not))
    made.supply(Subject.trained, Missing(why_not))
    return made


def _as_it_began(start: nn.Module, model: nn.Module) -> bool:
    return all(torch.equal(first, last) for first, last in zip(start.parameters(), model.parameters(), strict=False))


def recipe_of(capture: Capture, x: torch.Tensor, start: nn.Module, task: str, training: Training, root: Path) -> Recipe:
    """The captured training as a recipe on inputs `(N, …)`: every fifth sample, or whole batch, is held out."""
    y = torch.cat(capture.y)
    classes = 0
    if task == "classification":
        y = (y if y.ndim == 1 else y.reshape(-1)).long() if y.ndim == 1 or y.shape[1] == 1 else y.argmax(-1)
        classes = int(y.max()) + 1
    inputs = inputs_of_call(start)
    whole = isinstance(inputs, Batches)
    units = inputs.batch if isinstance(inputs, Batches) and len(inputs.calls) >= HELD_OUT else torch.arange(len(x))
    held = units % HELD_OUT == HELD_OUT - 1
    kept, out = Tensors(x[~held], y[~held]), Tensors(x[held], y[held])
    made = Recipe(task, kept, out, out, functools.partial(copy.deepcopy, start), training, classes, root)
    if training.fit is not None:
        return made
    return made.with_training(shuffle=not whole and not _in_order(made))


def _in_order(made: Recipe) -> bool:
    """Whether the captured batches were those of sorted labels: so they are replayed."""
    if made.task == "language_model" or len(made.train) <= made.training.batch_size:
        return False
    within = variety_within(list(torch.split(made.train.y, made.training.batch_size)), made)
    return within is not None and within < WITHIN


def _training(capture: Capture, record: Record) -> Training:
    batch = max(1, max(capture.sizes, default=1))
    rounds = max(1, capture.samples // batch)
    epochs = max(1, min(record.steps, MOST_STEPS) // rounds)
    kind, settings = capture.optimizer or (None, {})
    optimizer = functools.partial(kind, **settings) if kind is not None else None
    training = Training(loss=capture.loss, optimizer=optimizer, epochs=epochs, batch_size=batch)
    stale = record.stale_steps > record.steps / 2
    return replace(training, fit=functools.partial(_never_clearing, training)) if stale else training


def _never_clearing(training: Training, model: nn.Module, batches: Any, held_out: Any) -> None:
    """The watched loop, where it never cleared its gradients."""
    assert training.optimizer is not None and training.loss is not None
    optimizer = training.optimizer(model.parameters())
    model.train()
    for _ in range(training.epochs):
        for x, y in batches:
            training.loss(outputs_of(model(x)), y).backward()
            optimizer.step()


def _trained(recipe: Recipe, model: nn.Module, record: Record, crash: UserCodeError | None) -> Trained:
    from firstfault.metrics import metric_of

    trained = Trained(model, metric_of(recipe.task, None)[0], crash=crash, record=record)
    try:
        scores = [*evaluate(recipe, model, recipe.train), *evaluate(recipe, model, recipe.validation)]
    except BaseException as error:
        pass_on(error)
        trained.crash = crash or UserCodeError(Layer.MODEL, "the model", error, recipe.root)
        return trained
    trained.epochs.append(Epoch(1, *scores))
    return trained
