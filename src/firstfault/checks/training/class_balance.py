"""How much each class counts in a training: by how often it occurs, and by its weight in the loss."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch

from firstfault.check import Judgement, check, judge, skipped
from firstfault.checks.training.shuffling import label_batches
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.memo import memo
from firstfault.subject.subject import Subject
from firstfault.training.recipe import Recipe


class Counts(NamedTuple):
    """The classes `(C,)` that occur, how often `(C,)`, and the weight `(C,)` of a row of each in the loss, if known."""

    classes: torch.Tensor
    rows: torch.Tensor
    weights: torch.Tensor | None

    def ends(self, amounts: torch.Tensor) -> tuple[int, int]:
        """The positions of the classes with the largest and with the smallest amount."""
        return int(amounts.argmax()), int(amounts.argmin())

    def told(self, position: int) -> str:
        """A class and its rows in words."""
        return f"class {int(self.classes[position])} occurs {int(self.rows[position]):,} times"


@check(layer=Layer.TRAINING, needs={"recipe"}, detects={"class_imbalance": 0.3})
def imbalanced_batches(subject: Subject, *, ratio: float = 10.0) -> Iterator[Judgement]:
    """Look how much the classes count in what a training learns from.

    Measures: the rows of a class times its weight in the loss: the largest over the smallest.
    Warns when: the ratio is above `ratio`.
    Source: Amazon SageMaker Debugger, ClassImbalance (10), which does not see weights.
    """
    recipe = subject.recipe
    counted = _counts(subject)
    if counted is None:
        yield skipped("the labels are no classes")
        return
    amounts = counted.rows if counted.weights is None else counted.rows * counted.weights
    most, least = counted.ends(amounts)
    absent = int(counted.classes.numel()) < recipe.classes
    yield judge(
        float("inf") if absent else float(amounts[most] / amounts[least]),
        above=ratio,
        otherwise=Status.WARN,
        where=Place.part("the training batches"),
        message=f"{counted.told(most)}, "
        + (f"and {recipe.classes - counted.classes.numel()} classes never" if absent else counted.told(least)),
        fix="weight the loss by class, or draw the classes evenly",
    )


@check(layer=Layer.TRAINING, needs={"recipe"}, detects={"wrong_loss": 0.9})
def weighted_by_count(
    subject: Subject, *, uneven: float = 3.0, apart: float = 1.5, fewest: int = 30
) -> Iterator[Judgement]:
    """Find a loss that weights the classes by how often they occur, instead of by the inverse.

    Measures: the weight of a class relative to its rows, the largest over the smallest. Weights are the slopes of the
        loss where every class is given the same.
    Fails when: that is below `apart`, while the classes have at least `fewest` rows, and differ in them by at least a
        factor of `uneven`.
    Source: King & Zeng 2001, Logistic Regression in Rare Events Data, whose weights are the inverse. In proportion,
        imbalance counts twice, which nobody means. `apart` leaves room for rows that were not captured: of `fewest`
        that are, the count may be off by a third.
    """
    counted = _counts(subject)
    if counted is None or counted.weights is None:
        yield skipped("the loss could not be asked for weights of classes")
        return
    most, least = counted.ends(counted.rows)
    if counted.rows[most] < uneven * counted.rows[least] or counted.rows[least] < fewest:
        yield skipped(f"no class of {fewest} rows or more occurs {uneven:g} times as often as another")
        return
    relative = counted.weights / counted.rows
    yield judge(
        float(relative.max() / relative.min()),
        below=apart,
        where=Place.setting("training.loss"),
        message=f"{counted.told(most)}, {counted.told(least)}, and the loss weights a row of the first "
        f"{float(counted.weights[most] / counted.weights[least]):.3g} times as much",
        fix="weight each class by the inverse of how often it occurs",
    )


@memo(of="model")
def _counts(subject: Subject) -> Counts | None:
    """What the training batches hold; None where their labels are no classes."""
    recipe = subject.recipe
    batches = label_batches(subject) if recipe.task == "classification" else []
    if not batches or recipe.classes < 2:
        return None
    labels = torch.cat([batch.flatten() for batch in batches]).long()
    classes, rows = torch.unique(labels[labels >= 0], return_counts=True)  # below 0 are positions that the loss ignores
    return Counts(classes, rows, _weights(recipe, classes, subject.outputs.shape)) if len(classes) else None


def _weights(recipe: Recipe, classes: torch.Tensor, shape: torch.Size) -> torch.Tensor | None:
    """How much the loss of a row of each class weighs, by its slope where all classes are given the same."""
    if len(shape) != 2 or int(classes.max()) >= shape[1]:
        return None
    outputs = torch.full((len(classes), shape[1]), 1 / shape[1], requires_grad=True)
    try:
        (slopes,) = torch.autograd.grad(recipe.loss(outputs, classes), outputs)
    except Exception:  # the user's loss wants other outputs than these
        return None
    weights = slopes.abs().sum(1)
    return weights if bool((weights > 0).all()) else None
