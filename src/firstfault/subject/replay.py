"""The user's own `fit` as a training that swaps can vary.

Its loss, optimizer and length are as they were captured, the loop is firstfault's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from firstfault.errors import Missing
from firstfault.probe.capture import Capture
from firstfault.probe.record import Record
from firstfault.subject.captured import FEWEST, recipe_of
from firstfault.subject.memo import memo
from firstfault.subject.subject import Subject
from firstfault.target.declaration import Training
from firstfault.training.batches import batches_of
from firstfault.training.input_tree import InputTree
from firstfault.training.loop import Trained
from firstfault.training.recipe import Recipe
from firstfault.training.tree_calls import TreeModel, trees_of

LOOKED_UP = 8
"""Captured rows that are looked for among the prepared ones: a single other one says that they were changed."""
STEADY = 0.01
"""Of the highest rate: what varies by less is no schedule."""


@memo(of="trained")
def replayed(subject: Subject) -> Recipe:
    """The recipe of the user's `fit` without it, made once per subject.

    The model, the prepared data and the batches are the target's own, the loss and the optimizer those that were
    captured (else those that the target declares beside `fit`), the epochs as many as were seen, the learning rate
    that of each epoch. Where the loop feeds the model something else than the prepared batches, the captured
    batches are the data, and the model starts as it started there.

    Raises:
        Missing: where too little was captured.
    """
    recipe, trained = subject.recipe, _observed(subject)
    capture = subject.made(Subject.capture)
    if not isinstance(capture, Capture):
        raise Missing("the user's fit was not observed")
    settings = _settings(recipe, capture, trained.record)
    trees = trees_of(recipe.model)
    if capture.samples and not capture.plain and not (trees is not None and _fed_as_trees(trees, recipe, capture)):
        raise Missing("the user's fit can't be replayed: the model takes something else than one tensor")
    as_prepared = trees is not None or recipe.training.loader is not None
    if capture.samples == 0 or as_prepared or _fed_as_prepared(recipe, capture):
        return replace(recipe, training=settings)
    if recipe.task != "language_model" and _other_labels(recipe, capture):
        raise Missing(
            "the user's fit can't be replayed: its loss is given labels of another shape than the prepared ones"
        )
    if capture.samples < FEWEST or capture.model is None:
        raise Missing(
            "the user's fit can't be replayed: it changes the batches, "
            f"and {capture.why_not or 'too few of them were seen'}"
        )
    return recipe_of(capture, torch.cat(capture.x), capture.model, recipe.task, settings, recipe.root)


def looped(subject: Subject) -> Recipe:
    """The recipe in firstfault's own loop: the target's, or the replay of its `fit`; an estimator's as it is."""
    recipe: Recipe = subject.recipe
    return recipe if recipe.training.fit is None else replayed(subject)


@memo(of="model")
def baseline_runs(subject: Subject) -> dict[Any, Any]:
    """The trainings of the unchanged recipe, by seed and scale, as they are made."""
    return {}


def _observed(subject: Subject) -> Trained:
    """The training that was watched; it is made now only where the target is known to train in the time there is."""
    if Subject.trained not in subject.memos and not baseline_runs(subject):
        raise Missing("the user's fit was not observed")
    trained: Trained = subject.trained
    if trained.record is None or trained.record.steps == 0 or trained.crash is not None:
        raise Missing("the user's fit was not seen to its end")
    return trained


def _settings(recipe: Recipe, capture: Capture, record: Record) -> Training:
    declared = recipe.training
    loss = _on_labels(capture.loss, capture.y[0]) if capture.loss is not None and capture.y else declared.loss
    if loss is None:
        raise Missing(f"the user's fit can't be replayed: {capture.why_not or 'its loss is not known'}")
    kind, values = capture.optimizer or (None, {})

    def make(parameters: Any) -> Any:
        assert kind is not None
        return kind([value for value in parameters if value.requires_grad], **values)

    rounds = max(1, len(batches_of(recipe, "train", declared.seed)))  # type: ignore[arg-type]
    epochs = max(1, round(record.steps / rounds))
    return replace(
        declared,
        fit=None,
        loss=loss,
        optimizer=make if kind is not None else declared.optimizer,
        epochs=epochs,
        scheduler=_schedule(record, epochs),
    )


def _on_labels(loss: Callable[..., Any], example: torch.Tensor) -> Callable[..., Any]:
    """A captured loss on the recipe's labels: in the dtype and shape in which the loop handed labels over."""
    wanted = tuple(example.shape[1:])
    repeated = example.ndim > 1 and bool((example == example[:, :1]).all())

    def on_labels(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        rows = len(y)
        if wanted and y.ndim == 1 and wanted[-1] > 1:
            y = y[:, None].expand(rows, wanted[-1]) if repeated else nn.functional.one_hot(y.long(), wanted[-1])
        if example[:1].numel() * rows == y.numel():
            y = y.reshape(rows, *wanted)
        return loss(outputs, y.to(example.dtype))  # type: ignore[no-any-return]

    return on_labels


def _schedule(record: Record, epochs: int) -> Callable[[Any], Any] | None:
    """The learning rates that were seen, the mean of each epoch; None where there was one only."""
    rates = record.lr.values
    if not rates or max(rates) - min(rates) <= STEADY * max(rates) or rates[0] <= 0:
        return None
    parts = np.array_split(np.asarray(rates, float), min(epochs, len(rates)))
    share = [
        float(parts[min(number * len(parts) // epochs, len(parts) - 1)].mean()) / rates[0]
        for number in range(epochs + 1)
    ]
    return lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: share[min(epoch, epochs)])


def _fed_as_prepared(recipe: Recipe, capture: Capture) -> bool:
    """Whether the first captured samples are rows of the prepared training data, with their labels."""
    x, y = recipe.train.x, recipe.train.y
    for row, label in zip(capture.x[0][:LOOKED_UP], capture.y[0][:LOOKED_UP], strict=False):
        if row.shape != x.shape[1:]:
            return False
        same = (x.to(row.dtype) == row).flatten(1).all(1) if x.ndim > 1 else x.to(row.dtype) == row
        if not any(_same_label(known, label) for known in y[same]):
            return False
    return True


def _fed_as_trees(trees: TreeModel, recipe: Recipe, capture: Capture) -> bool:
    """Whether the first captured samples are the prepared ones, each tensor of them, with their labels."""
    tree, y = InputTree(trees.tree(recipe.train.x), len(recipe.train)), recipe.train.y
    known, seen = tree.arguments.tensors, capture.calls[0].tensors
    if [value.shape[1:] for value in known] != [value.shape[1:] for value in seen]:
        return False
    for row, label in enumerate(capture.y[0][:LOOKED_UP]):
        same = torch.ones(len(recipe.train), dtype=torch.bool)
        for value, part in zip(known, seen, strict=True):
            same &= (value == part[row]).flatten(1).all(1) if value.ndim > 1 else value == part[row]
        if not any(_same_label(each, label) for each in y[same]):
            return False
    return True


def _other_labels(recipe: Recipe, capture: Capture) -> bool:
    """Whether the loop gives prepared inputs to the model, and makes other labels of theirs."""
    known, seen = recipe.train.y[0].numel(), capture.y[0][:1].numel()
    return capture.x[0].shape[1:] == recipe.train.x.shape[1:] and known != seen and known > 1


def _same_label(known: torch.Tensor, seen: torch.Tensor) -> bool:
    if seen.numel() == known.numel():
        return bool(torch.allclose(known.double().reshape(-1), seen.double().reshape(-1)))
    return seen.ndim == 1 and known.numel() == 1 and int(seen.argmax()) == int(known)
