"""What a model answers: the tensors within what it returns, and the one that is learnt from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.distributions import Distribution


@dataclass(frozen=True)
class Answer:
    """Which output of a model is learnt from, by its number among its tensors, and how it lies.

    `classes_last` moves the classes of `(N, C, …)` to the end and its positions into one axis: `(N, P, C)`; `flat`
    makes `(N, P)` of `(N, …)`.
    """

    number: int = 0
    classes_last: bool = False
    flat: bool = False

    def of(self, value: Any) -> torch.Tensor:
        """The tensor `(N, …)` within what a model returned."""
        found = list(answers_in(value))
        if self.number >= len(found):
            raise TypeError(f"the model returned {len(found)} tensors, but {self.number + 1} while it was watched")
        outputs = found[self.number]
        if self.classes_last:
            return outputs.movedim(1, -1).flatten(1, -2)
        return outputs.flatten(1) if self.flat else outputs


class EveryAnswer(Answer):
    """All outputs of a model that have as many samples as the first, side by side: `(N, F)`; a single one as it is."""

    def of(self, value: Any) -> torch.Tensor:
        """The tensor `(N, …)` made of what a model returned."""
        first = super().of(value)
        found = [outputs for outputs in answers_in(value) if len(outputs) == len(first)]
        return torch.cat([outputs.reshape(len(first), -1) for outputs in found], 1) if len(found) > 1 else first


def answers_in(value: Any) -> Iterator[torch.Tensor]:
    """The float tensors with samples within what a model returned, in their order."""
    if isinstance(value, torch.Tensor):
        if value.is_floating_point() and value.ndim > 0:
            yield value
    else:
        for item in parts_of(value):
            yield from answers_in(item)


def parts_of(value: Any) -> Iterable[Any]:
    """What lies within what a model returned: the values of a mapping or a dataclass, the numbers of a distribution."""
    if isinstance(value, Distribution):
        return _parameters_of(value)
    if hasattr(value, "values") and callable(value.values):
        parts: Iterable[Any] = value.values()
        return parts
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, each.name) for each in dataclasses.fields(value)]
    if isinstance(value, tuple | list):
        return value
    return [value.logits] if hasattr(value, "logits") else []


def _parameters_of(value: Distribution) -> list[Any]:
    """What a network computed for a distribution: its logits, else the arguments that it was made with."""
    if hasattr(value, "logits"):
        return [value.logits]
    if hasattr(value, "base_dist"):
        return [value.base_dist]
    return [vars(value)[name] for name in value.arg_constraints if name in vars(value)]
