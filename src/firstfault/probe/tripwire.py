"""Catches the first NaN or infinity of a training in the step in which it is born."""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from firstfault.place import Kind, Place
from firstfault.probe.loss_calls import LossCalls
from firstfault.probe.models import Models
from firstfault.probe.nonfinite_origin import BY_UPDATE, SET_BY_HAND, birthplace, in_calls
from firstfault.probe.nonfinite_passes import Call, finite
from firstfault.probe.record import Record
from firstfault.probe.updates import Updates, keeps_gradients

SMALL = 1024
"""Values of a gradient that is looked at whole: its edges would take as many calls."""
MOST_CALLS = 8
"""Calls of models that are kept for a search: bounds the memory of their inputs."""
MOST_SEARCHES = 5
"""Searches of a training: each costs a step, and a gradient scaler may skip losses for ever."""
Found = tuple[int, str, Place]


class Tripwire:
    """Looks at the loss and at the first layer's gradient in each step, at an edge of every gradient in sampled ones,
    and searches the birthplace where they are not finite.

    A backward pass carries a NaN to the first layer. Where it does not, in a plain step, the update puts it into a
    weight and into what the optimizer keeps, and the next loss shows it: then the weight and its step are told. Of an
    optimizer that keeps nothing every gradient is looked at.

    `record.first_nonfinite` holds what was found. A loss that is not finite stays in doubt until a step uses its
    gradients: a gradient scaler, or the loop itself, may skip it.
    """

    def __init__(
        self, record: Record, models: Models, losses: LossCalls, paused: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._record, self._models, self._losses, self._paused = record, models, losses, paused
        self._updates = Updates()
        # since the last backward pass; with gradients or without
        self._calls: list[tuple[nn.Module, Any, Any, bool]] = []
        self._learnt: list[tuple[nn.Module, Any, Any, bool]] = []  # before it
        self._loss: torch.Tensor | None = None
        self._loss_finite = True
        self._doubt: Found | None = None
        self._searches = 0
        self._biased: set[int] = set()
        self._plain: dict[int, Sequence[torch.Tensor]] = {}  # by optimizer, whose gradients plain steps look at

    @property
    def tripped(self) -> bool:
        """Whether the first non-finite value is known: then nothing is looked at any more."""
        return self._record.first_nonfinite is not None

    def called(self, model: nn.Module, args: Any, kwargs: Any, learns: bool) -> None:
        """Keep a call of a model until its loss is seen."""
        if self.tripped:
            return
        if not learns:
            self._calls = [call for call in self._calls if call[0] is not model or call[3]]
        self._calls.append((model, args, kwargs, learns))
        del self._calls[:-MOST_CALLS]

    def before_backward(self, loss: torch.Tensor) -> float:
        """Look at a loss; its mean."""
        self._loss = loss.detach()
        self._calls, self._learnt = [], self._calls
        mean = float((self._loss if self._loss.numel() == 1 else self._loss.mean()).item())
        self._loss_finite = math.isfinite(mean) or finite(self._loss)
        if not self._loss_finite and not self.tripped and self._doubt is None:
            self._doubt = self._search("loss", loss)
        return mean

    def know(self, optimizer: Any, parameters: Sequence[torch.Tensor]) -> None:
        """Learn which parameter of an optimizer is of the first layer, and which weights have a bias, whose gradient
        tells what one of an output would.
        """
        names = self._models.names
        self._plain[id(optimizer)] = _first(parameters, list(names)) if keeps_gradients(optimizer) else parameters
        biases = {names.get(id(value), "").removesuffix("bias"): len(value) for value in parameters if value.ndim == 1}
        self._biased |= {
            id(value)
            for value in parameters
            if value.ndim > 1 and biases.get(names.get(id(value), "").removesuffix("weight")) == len(value)
        }

    def before_update(self, key: int, parameters: Iterable[torch.Tensor], *, sampled: bool) -> None:
        """Settle what is known before an update: a loss that was not finite is pardoned where the loop has cleared its
        gradients.
        """
        if self.tripped:
            return
        if self._doubt is not None and not self._loss_finite:
            self._record.first_nonfinite = self._doubt
        elif self._is_bad(parameters if sampled else self._plain[key], parameters):
            self._record.first_nonfinite = self._doubt or self._search("gradient", self._loss)
        self._doubt = None

    def _is_bad(self, looked_at: Iterable[torch.Tensor], parameters: Iterable[torch.Tensor]) -> bool:
        return not _finite_sum(self._edges(looked_at)) and not all(finite(grad) for _, grad in _dense(parameters))

    def updated(self, optimizer: Any, values: list[Any]) -> None:
        """Note that an optimizer has just made its step."""
        self._updates.made(optimizer, self._record.steps, values)

    def bad_update(self, step: int) -> None:
        """Look for the weight that an update has made non-finite."""
        if not self.tripped:
            weight = self._weight()
            self._record.first_nonfinite = (step, "weight", _of_weight(weight, BY_UPDATE)) if weight else None

    def raised(self) -> None:
        """Search what was called before an exception: many loops raise by themselves when a loss is not finite."""
        if not self.tripped and self._doubt is None and self._calls and self._weight() is None:
            with self._paused():
                found = in_calls(_named(self._calls, self._models), self._models.modules)
            self._doubt = (self._record.steps + 1, *found) if found else None

    def settle(self) -> None:
        """What no later step tells: a loss in doubt at the end, a weight that the last update made."""
        if not self.tripped and self._doubt is None:
            weight = self._weight()
            made = self._updates.step_of(self._models.parameters[weight]) if weight else None
            if weight:
                self._doubt = (
                    made or self._record.steps + 1,
                    "weight",
                    _of_weight(weight, BY_UPDATE if made else SET_BY_HAND),
                )
        self._record.first_nonfinite = self._record.first_nonfinite or self._doubt
        self._calls, self._learnt = [], []

    def _edges(self, parameters: Iterable[torch.Tensor]) -> list[torch.Tensor]:
        """Small gradients whole; of the others the first row, and the first column where no bias does for it.

        A NaN that reaches a weight's gradient from its outputs fills whole rows, one from its inputs whole columns.
        """
        edges, biased = [], self._biased
        for value, gradient in _dense(parameters):
            axes = gradient.ndim
            if axes == 1:
                edges.append(gradient)
            elif gradient.numel() <= SMALL:
                edges.append(gradient.reshape(-1))
            else:
                edges.append(gradient[0] if axes == 2 else gradient[0].reshape(-1))
                if id(value) not in biased:
                    edges.append(_first_column(gradient))
        return edges

    def _search(self, kind: str, loss: torch.Tensor | None) -> Found:
        """Step, kind and place of the first non-finite tensor.

        The step is that of the update where an update made it.
        """
        step = self._record.steps + 1
        self._searches += 1
        if self._searches > MOST_SEARCHES:
            return step, kind, Place.part(f"the {kind}")
        models = self._models
        with self._paused():
            models.look()
            weight = self._weight()
            if weight:
                made = self._updates.step_of(models.parameters[weight])
                return (
                    (made, "weight", _of_weight(weight, BY_UPDATE))
                    if made
                    else (step, "weight", _of_weight(weight, SET_BY_HAND))
                )
            calls = _named([*self._learnt, *self._calls], models)
            found = birthplace(kind, calls, models.parameters, models.modules, loss=loss, asked=self._losses.last())
        return step, *found

    def _weight(self) -> str | None:
        return next((name for name, value in self._models.parameters.items() if not finite(value)), None)


def _first(parameters: Sequence[torch.Tensor], order: Sequence[int]) -> list[torch.Tensor]:
    """The first vector among parameters, in the order of their models; where there is none, the first of all."""
    places = {key: place for place, key in enumerate(order)}
    several = [value for value in parameters if value.ndim == 1] or parameters
    return sorted(several, key=lambda value: places.get(id(value), 0))[:1]


def _of_weight(name: str, note: str) -> Place:
    return Place(Kind.PARAMETER, (name,), note=note)


def _named(calls: list[tuple[nn.Module, Any, Any, bool]], models: Models) -> list[Call]:
    return [Call(models.modules.get(id(model), "model"), model, args, kwargs) for model, args, kwargs, _ in calls]


def _dense(parameters: Iterable[torch.Tensor]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for value in parameters:
        gradient = value.grad
        if gradient is not None and not gradient.is_sparse:
            yield value, gradient


def _finite_sum(parts: list[torch.Tensor]) -> bool:
    """Whether the sum of all values is finite: then they are. One that overflows is no proof."""
    if not parts:
        return True
    try:
        return cmath.isfinite((torch.cat(parts) if len(parts) > 1 else parts[0]).sum().item())
    except RuntimeError:  # on several devices
        return all(cmath.isfinite(part.sum().item()) for part in parts)


def _first_column(gradient: torch.Tensor) -> torch.Tensor:
    while gradient.ndim > 1:
        gradient = gradient.select(-1, 0)
    return gradient
