"""Made-up outputs, right and wrong ones, to ask a loss or a metric what it prefers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from firstfault.subject.subject import Subject
from firstfault.training.recipe import Recipe

MOST_ROWS = 256  # a loss or a metric tells right from wrong on fewer; classes of 1 % still have 2 of them
MOST_VALUES = 2_000_000  # 8 MB of outputs: language models have one for each word
SAME = 1e-6  # of a loss, in float32: its rounding (1.2e-7) with a margin for sums
SURE, UNSURE = 0.95, 0.05  # pass for probabilities as well as for logits


@dataclass(frozen=True)
class Answers:
    """Outputs of the model's shape on some encoded labels `y`: for classes, values of 0.05 and 0.95.

    right: what the labels say. wrong: every row is wrong. scattered: every second row is. constant: the first right
    answer for all.
    """

    y: torch.Tensor
    right: torch.Tensor
    wrong: torch.Tensor

    @property
    def scattered(self) -> torch.Tensor:
        """Right and wrong rows by turns."""
        mixed = self.right.clone()
        mixed[1::2] = self.wrong[1::2]
        return mixed

    @property
    def constant(self) -> torch.Tensor:
        """The same answer for all rows."""
        return self.right[:1].expand_as(self.right)


def answers(subject: Subject) -> Answers | None:
    """Made-up outputs for the labels of some training rows, taken from all of the split.

    None where the model's outputs are of no known shape, or all labels are equal.
    """
    recipe, shape = subject.recipe, subject.outputs.shape
    y = recipe.train.y[:: max(1, -(-len(recipe.train) // MOST_ROWS))].cpu()
    if len(y) < 2 or len(torch.unique(y, dim=0)) < 2:
        return None
    if recipe.task == "regression":
        return _numbers(y, shape)
    if recipe.task == "multilabel":
        return _shares(y, y.float()) if shape[1:] == y.shape[1:] else None
    if recipe.task == "classification" and y.ndim == 1 and tuple(shape[1:]) in ((), (1,)):
        return _shares(y, y.float().reshape(-1, *shape[1:])) if int(y.max()) == 1 else None
    rows = max(2, MOST_VALUES // max(1, int(torch.Size(shape[1:]).numel())))
    return _ids(y[:rows], shape[-1]) if len(shape) == y.ndim + 1 and tuple(shape[1:-1]) == tuple(y.shape[1:]) else None


def losses_of(recipe: Recipe, made: Answers) -> tuple[float, float, float] | None:
    """The loss of right, scattered and wrong outputs; None where the loss takes none of them."""
    try:
        with torch.no_grad():
            right, scattered, wrong = (
                float(recipe.loss(outputs.clone(), made.y)) for outputs in (made.right, made.scattered, made.wrong)
            )
    except Exception:  # the user's loss wants other outputs than these
        return None
    return (right, scattered, wrong) if all(value == value for value in (right, scattered, wrong)) else None


def _numbers(y: torch.Tensor, shape: Any) -> Answers | None:
    if y.numel() // len(y) != torch.Size(shape[1:]).numel():
        return None
    right = y.float().reshape(len(y), *shape[1:])
    return Answers(y, right, right + right.std() + 1)


def _shares(y: torch.Tensor, right: torch.Tensor) -> Answers:
    right = UNSURE + (SURE - UNSURE) * right
    return Answers(y, right, 1 - right)


def _ids(y: torch.Tensor, width: int) -> Answers | None:
    if y.is_floating_point() or int(y.min()) < 0 or int(y.max()) >= width or width < 2:
        return None
    right, wrong = (nn.functional.one_hot(ids.long() % width, width).float() for ids in (y, y + 1))
    return Answers(y, UNSURE + (SURE - UNSURE) * right, UNSURE + (SURE - UNSURE) * wrong)
