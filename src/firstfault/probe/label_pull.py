"""Whether a loss moves outputs towards their labels, whatever it is made of: its slope in the outputs tells."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from typing import Any

import torch

from firstfault.probe.series import Series
from firstfault.training.losses import LOSSES
from firstfault.training.one_tensor import answers_in
from firstfault.training.tensors import tensors_in

MOST_VALUES = 8_192
"""Of an output: bounds the time of a sampled step."""
MOST_OUTPUTS = 6
"""Of the models of one step, and of what losses are given of them."""
MOST_CLASSES = 1_000
"""Of an output: bounds the memory of its labels side by side."""
FEWEST = 8
"""Values, for a correlation."""


@dataclass
class _Output:
    """An output, the slope of the loss in it once that is known, and the targets that a loss compared it with."""

    value: torch.Tensor
    slopes: list[torch.Tensor] = field(default_factory=list)
    labels: list[torch.Tensor] = field(default_factory=list)


class LabelPull:
    """Adds to `found`, by sampled step, how minus the slope of the loss in an output correlates with its labels.

    That is above 0 where a step makes the output more like them. Outputs are the answers of models, and what torch's
    losses are given in their place, as the similarities of the answers of two. Labels are the tensors of the loader's
    batch but for the first, the inputs, and the targets of torch's losses, where they fit the output: a class for each
    of its rows, or yes or no for each of its values. Numbers are labels only as targets of torch's losses, and count as
    distances from the output: others in a batch may be what noise was added to. Of several labels that fit, the one
    that the output moves towards the most counts.
    """

    def __init__(self, found: Series) -> None:
        self._found = found
        self._open: list[_Output] = []

    def answered(self, outputs: Any) -> None:
        """A model answered, with gradients on, on a sampled step."""
        for value in answers_in(outputs):
            self._listen(value)

    def asked(self, name: str, outputs: torch.Tensor, target: torch.Tensor) -> None:
        """A loss of torch was asked, with gradients on, on a sampled step."""
        if name in LOSSES:
            for known in self._listen(outputs):
                known.labels.append(target.detach())

    def learnt(self, step: int, batch: Any) -> None:
        """A backward pass is over: the slopes are known."""
        given, self._open = self._open, []
        if not given:
            return
        labels = [value.detach() for value in list(tensors_in(batch))[1:] if is_choice(value)]
        targets = [label for output in given for label in output.labels]
        for output in given:
            if output.slopes and output.slopes[0].shape == output.value.shape:
                moves = -output.slopes[0]
                pulls = [pull_of(output.value, moves, label) for label in labels + (output.labels or targets)]
                if known := [pull for pull in pulls if pull is not None]:
                    self._found.add(step, max(known))

    def _listen(self, value: torch.Tensor) -> list[_Output]:
        """The output, to whose slope is listened from now on; none where there is none, or they are enough."""
        known = [output for output in self._open if output.value.data_ptr() == value.data_ptr()]
        known = [output for output in known if output.value.shape == value.shape]
        if known or not value.requires_grad or not value.ndim or len(self._open) >= MOST_OUTPUTS:
            return known
        made = _Output(value.detach())
        value.register_hook(functools.partial(_keep, made.slopes))  # type: ignore[no-untyped-call]
        self._open.append(made)
        return [made]

    def forget(self) -> None:
        """The sampled step is over."""
        self._open = []


def _keep(slopes: list[torch.Tensor], slope: torch.Tensor) -> None:
    slopes.append(slope.detach())


def pull_of(outputs: torch.Tensor, moves: torch.Tensor, label: torch.Tensor) -> float | None:
    """The correlation of the moves of outputs with what their labels are, −1 to 1; None where they are not labels."""
    if label.device != outputs.device or label.is_complex() or label.numel() < 2:
        return None
    wanted = _wanted(outputs, label)
    if wanted is None:
        return None
    wanted, moved = wanted.reshape(-1).float(), moves.reshape(-1).float()
    stride = -(-len(moved) // MOST_VALUES)
    both = torch.stack([wanted[::stride], moved[::stride]])
    if both.shape[1] < FEWEST or not all(0 < spread < math.inf for spread in both.std(1).tolist()):
        return None
    return float(torch.corrcoef(both)[0, 1])


def _wanted(outputs: torch.Tensor, label: torch.Tensor) -> torch.Tensor | None:
    """What outputs are to become, in their shape: one-hot rows, yes and no, or the way to their numbers."""
    if _alike(label, outputs):
        same = label.reshape(outputs.shape)
        return same if is_choice(label) else same - outputs if label.is_floating_point() else None
    axes = (1, -1) if outputs.ndim > 1 else ()
    return next((made for axis in axes if (made := _one_hot(outputs, label, axis)) is not None), None)


def _one_hot(outputs: torch.Tensor, label: torch.Tensor, axis: int) -> torch.Tensor | None:
    """Labels as rows of 0 and 1 along that axis of the outputs; labels below 0 are left out."""
    classes = outputs.shape[axis]
    if label.is_floating_point() or not 1 < classes <= MOST_CLASSES or int(label.max()) >= classes:
        return None
    if label.shape != outputs.movedim(axis, -1).shape[:-1]:
        return None
    rows = torch.nn.functional.one_hot(label.clamp_min(0).long(), classes) * (label >= 0).unsqueeze(-1)
    return rows.movedim(-1, axis)


def is_choice(label: torch.Tensor) -> bool:
    """Whether a tensor holds classes, or yes and no."""
    return not label.is_floating_point() or bool(((label == 0) | (label == 1)).all())


def _alike(label: torch.Tensor, outputs: torch.Tensor) -> bool:
    """Whether the shapes are equal but for axes of length 1."""
    return [size for size in label.shape if size > 1] == [size for size in outputs.shape if size > 1]
