"""Models that are given their labels, and ask their loss themselves, as `logits, loss = model(tokens, targets)`: called without labels."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from firstfault.interrupts import pass_on
from firstfault.training.recipe import outputs_of

Place = int | str
SETTINGS = (bool, int, float, str, type(None))


class Labelled:
    """The forward function of a model that takes labels, with zeros in their place.

    Args:
        forward: of the model.
        place: of the labels among the arguments, by position or name.
        shape: of one sample's labels.
        dtype: of the labels.
        settings: the other arguments, by position or name.
    """

    def __init__(
        self, forward: Any, place: Place, shape: torch.Size, dtype: torch.dtype, settings: dict[Place, Any]
    ) -> None:
        self.forward, self.place, self.shape, self.dtype, self.settings = forward, place, shape, dtype, settings

    def __call__(self, x: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        labels = torch.zeros((len(x), *self.shape), dtype=self.dtype, device=x.device) if labels is None else labels
        given = {**self.settings, self.place: labels}
        by_position = [given[place] for place in sorted(place for place in given if isinstance(place, int))]
        return outputs_of(
            self.forward(x, *by_position, **{place: value for place, value in given.items() if isinstance(place, str)})
        )


def without_labels(model: nn.Module, labels: torch.Tensor, place: Place, settings: dict[Place, Any]) -> nn.Module:
    """A copy of a model that is called with its inputs alone; labels `(N, …)` are such as it is given."""
    copied = copy.deepcopy(model)
    copied.forward = Labelled(copied.forward, place, labels.shape[1:], labels.dtype, settings)  # type: ignore[method-assign]
    return copied


def why_not_without(model: nn.Module, x: torch.Tensor, labels: torch.Tensor) -> str:
    """Why such a copy can't stand for its model: its answers `(N, …)` depend on the labels, as those of a decoder do. Empty where it can."""
    copied = copy.deepcopy(model).eval()
    device = next((value.device for value in copied.parameters()), x.device)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            blind = torch.equal(copied(x.to(device)), copied(x.to(device), labels.to(device)))
    except BaseException as error:
        pass_on(error)
        return f"without its labels the model raises {type(error).__name__}"
    return "" if blind else "the model's answers depend on its second input"


def arguments(args: Any, kwargs: Any) -> tuple[dict[Place, torch.Tensor], dict[Place, Any]] | None:
    """The tensors and settings of a call beside its first argument; None where it takes anything else."""
    others: dict[Place, Any] = {**dict(enumerate(args[1:], 1)), **kwargs}
    tensors = {place: value for place, value in others.items() if isinstance(value, torch.Tensor)}
    settings = {place: value for place, value in others.items() if isinstance(value, SETTINGS)}
    return (tensors, settings) if len(tensors) + len(settings) == len(others) else None
