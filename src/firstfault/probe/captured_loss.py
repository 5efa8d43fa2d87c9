"""The loss of torch that a loop learns from: heard, matched with the model's answers, and asked again in a replay."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch.nn import functional

from firstfault.probe.handwritten_losses import by_hand
from firstfault.training.answers import Answer
from firstfault.training.losses import ELEMENTWISE, IGNORED, OF_CLASSES, OF_NUMBERS, are_one_hot

SAME_FACTOR = 1e-4
"""Relative: sums of float32 are nearer than that; with a further term or another weight they seldom are."""
BETWEEN: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "": lambda outputs: outputs,
    "log_softmax": lambda outputs: outputs.log_softmax(-1),
    "softmax": lambda outputs: outputs.softmax(-1),
    "sigmoid": lambda outputs: outputs.sigmoid(),
    "log": lambda outputs: outputs.log(),
}
"""What may lie between a model's outputs and its loss, tried in this order on the first batch."""


class Asked(NamedTuple):
    """One call of a loss function of torch, and what it gave."""

    name: str
    outputs: torch.Tensor
    target: torch.Tensor
    settings: dict[str, Any]
    value: torch.Tensor


def asked_as_usual(
    name: str, outputs: torch.Tensor, target: torch.Tensor, settings: dict[str, Any], value: torch.Tensor
) -> Asked:
    """A call; where it leaves out a label of its own, with the usual one, so that scores leave it out too."""
    own = settings.get("ignore_index", IGNORED)
    if name in OF_CLASSES and own != IGNORED and not target.is_floating_point():
        target, settings = target.masked_fill(target == own, IGNORED), {**settings, "ignore_index": IGNORED}
    return Asked(name, outputs, target.clone(), settings, value)


@dataclass(frozen=True)
class LearntLoss:
    """A loss that a replay can ask: its name, which answer of the model it takes, and the function of outputs and
    labels.
    """

    name: str
    answer: Answer
    function: Callable[..., Any]


def learnt_loss(asked: Asked, outputs: torch.Tensor, number: int, sign: float) -> LearntLoss | None:
    """The loss that was asked, where `outputs`, the model's answer of that number, is what it was given.

    `sign` is −1 where its negative is learnt from. None where what lies between them is not known.
    """
    name, values, target, settings, _ = asked
    if values.numel() != outputs.numel():
        return None
    by_position = name in OF_CLASSES and values.ndim > 2 and values.shape == outputs.shape
    if not by_position and values.ndim == outputs.ndim > 2 and values.shape == outputs.movedim(-1, 1).shape:
        values = values.movedim(1, -1)
    between = _between(outputs, values)
    if between is None:
        return None
    paired = name in ELEMENTWISE and values.shape == target.shape
    flat = paired and name.startswith("binary") and values.ndim > 2
    shape = values.shape[1:2] if by_position else values[:1].flatten(1).shape[1:] if flat else values.shape[1:]
    function = functools.partial(_replayed, name, between, tuple(shape), settings, paired, sign)
    function.__module__ = "torch.nn.functional"  # type: ignore[attr-defined]
    told = " of ".join(part for part in (name, between) if part)
    return LearntLoss(told, Answer(number, classes_last=by_position, flat=flat), function)


def _between(outputs: torch.Tensor, values: torch.Tensor) -> str | None:
    for between, function in BETWEEN.items():
        found = function(outputs).reshape(values.shape).to(values.dtype)
        if torch.allclose(found, values, rtol=1e-4, atol=1e-5, equal_nan=True):
            return between
    return None


def written_out(loss: torch.Tensor, outputs: torch.Tensor) -> list[Asked]:
    found = by_hand(loss, outputs)
    if found is None:
        return []
    errors = (found.outputs.detach() - found.target.detach()).abs() ** (2 if found.name == "mse_loss" else 1)
    summed = math.isclose(float(errors.sum()), float(loss.detach()), rel_tol=SAME_FACTOR)
    value, settings = (errors.sum(), {"reduction": "sum"}) if summed else (errors.mean(), {})
    return [Asked(found.name, found.outputs, found.target, settings, value)]


def as_one(asked: list[Asked], loss: float) -> list[Asked]:
    """Two cross-entropies of the same outputs as one with shares of classes, where the loss lies between them: so
    samples are mixed up.
    """
    if len(asked) != 2 or any(
        call.name != "cross_entropy" or call.target.ndim != 1 or call.target.is_floating_point() or call.value.ndim
        for call in asked
    ):
        return asked
    first, second = asked
    if (
        first.outputs.ndim != 2
        or first.settings.get("ignore_index", IGNORED) != IGNORED
        or not torch.equal(first.outputs, second.outputs)
    ):
        return asked
    apart = float(first.value - second.value)
    share = (loss - float(second.value)) / apart if apart else 1.0
    if not -SAME_FACTOR <= share <= 1 + SAME_FACTOR:
        return asked
    one, other = (functional.one_hot(call.target, first.outputs.shape[1]).to(first.outputs.dtype) for call in asked)
    return [first._replace(target=share * one + (1 - share) * other, value=torch.tensor(loss))]


def _replayed(
    name: str,
    between: str,
    shape: tuple[int, ...],
    settings: dict[str, Any],
    paired: bool,
    sign: float,
    outputs: torch.Tensor,
    y: torch.Tensor,
) -> torch.Tensor:
    """The captured loss on a model's outputs: what lay between them, the shapes that the loss was given, and the sign
    of what was learnt from.
    """
    values = BETWEEN[between](outputs)
    values = values.reshape(-1, *shape)
    if name in ELEMENTWISE:
        if y.ndim == 1 and values.ndim == 2 and values.shape[1] > 1 and name in OF_NUMBERS:  # labels that were one-hot
            y = functional.one_hot(y.long(), values.shape[1])
        y = y.to(values.dtype)
        y = y.reshape(values.shape) if paired and y.numel() == values.numel() else y
    y = y.reshape(-1) if name in OF_CLASSES and y.is_floating_point() is False and len(y) != len(values) else y
    return sign * getattr(functional, name)(values, y, **settings)  # type: ignore[no-any-return]


def task_of(name: str, labels: Sequence[torch.Tensor]) -> str | None:
    """The task that a loss and the labels of every batch tell; None where it is none that can be replayed."""
    if not labels:
        return None
    y = labels[0]
    if any(name.startswith(known) for known in OF_NUMBERS):
        return "classification" if all(map(are_one_hot, labels)) else "regression"
    if name.startswith("binary"):
        return _task_of_shares(y, name)
    if y.ndim == 1:
        return "classification"
    if y.ndim == 2 and y.is_floating_point() and _several(torch.cat(list(labels))):
        return "multilabel"
    return None if y.ndim > 2 else "classification" if y.is_floating_point() else "language_model"


def _several(y: torch.Tensor) -> bool:
    """Whether rows of yes and no say yes to several, or to none: shares of classes add up to 1."""
    return bool(((y == 0) | (y == 1)).all()) and bool((y.sum(1) != 1).any())


def _task_of_shares(y: torch.Tensor, name: str) -> str | None:
    """Yes or no for one label or several.

    Shares between them are numbers to come close to, where outputs are shares too.
    """
    if not bool(((y == 0) | (y == 1)).all()):
        return None if "logits" in name else "regression"
    if y.ndim > 2:
        return None
    return "multilabel" if y.ndim == 2 and y.shape[1] > 1 else "classification"
