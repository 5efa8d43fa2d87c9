"""The models of a loop as they began, with what they were given at first."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import nn

from firstfault.probe.models import is_sharded
from firstfault.probe.replica import unwrapped
from firstfault.training.call_tree import Arguments

MOST_MODELS = 4  # that are copied
SEEN_SAMPLES = 256  # as many as the checks of a model look at
MOST_BYTES = 64_000_000  # of a model's inputs


@dataclass
class SeenModel:
    """A model as it was when it was first called with gradients on, and what it was given at first: 256 samples or one
    batch.
    """

    start: nn.Module
    calls: list[Arguments] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    full: bool = False
    """Whether it has been seen enough."""
    bytes: int = 0
    """Of all that it was given."""

    def asked(self, given: Arguments) -> None:
        """It is called."""
        if self.full:
            return
        if lacks_names(self.calls[:1], given):
            self.calls, self.sizes, self.bytes = [], [], 0
        self.calls = [*self.calls[: len(self.sizes)], given]

    def answered(self, size: int) -> None:
        """It answered with so many samples; 0 where there are none."""
        if self.full or len(self.calls) == len(self.sizes):
            return
        self.sizes.append(size)
        self.bytes += sum(value.numel() * value.element_size() for value in self.calls[-1].tensors)
        self.full = size == 0 or sum(self.sizes) >= SEEN_SAMPLES or self.bytes >= MOST_BYTES
        if size == 0:
            self.calls, self.sizes = [], []


class SeenModels:
    """Keeps a copy of each of the first models that learn, and what they were given."""

    def __init__(self) -> None:
        self._seen: dict[int, SeenModel] = {}
        self._not_copied: dict[int, str] = {}

    def __iter__(self) -> Iterator[SeenModel]:
        return iter(self._seen.values())

    def of(self, model: nn.Module) -> SeenModel | None:
        """What is kept of a model; None where nothing is."""
        return self._seen.get(id(model))

    def why_not(self, model: nn.Module) -> str:
        """Why nothing is kept of a model."""
        return self._not_copied.get(id(model), "the loop trains several models")

    def wants(self, model: nn.Module) -> bool:
        """Whether more of a model's calls are to be told."""
        seen = self.of(model)
        if seen is not None:
            return not seen.full
        return id(model) not in self._not_copied and len(self._seen) < MOST_MODELS

    def called(self, model: nn.Module, given: Arguments) -> None:
        """A model is called; the first time, it is copied."""
        if self.of(model) is None and self.wants(model):
            self._copy(model)
        if (seen := self.of(model)) is not None:
            seen.asked(given)

    def answered(self, model: nn.Module, size: int) -> None:
        """A model answered with so many samples."""
        if (seen := self.of(model)) is not None:
            seen.answered(size)

    def _copy(self, model: nn.Module) -> None:
        if any(map(is_sharded, model.parameters())):
            self._not_copied[id(model)] = "the model is sharded over several processes"
            return
        try:
            self._seen[id(model)] = SeenModel(_with_parameters(copy.deepcopy(unwrapped(model))))
        except Exception as error:
            self._not_copied[id(model)] = f"the model can't be copied: {type(error).__name__}"


def _with_parameters(model: nn.Module) -> nn.Module:
    """A copy made inside of `torch.func.functional_call`, which puts plain tensors in the place of parameters."""
    for module in model.modules():
        for name, value in module._parameters.items():
            if value is not None and not isinstance(value, nn.Parameter):
                module._parameters[name] = nn.Parameter(value.detach())
    return model


def lacks_names(calls: list[Arguments], given: Arguments) -> bool:
    """Whether the only call so far is that in which a model was met: torch tells no named arguments of it."""
    return len(calls) == 1 and not calls[0].form[1] and bool(given.form[1])
