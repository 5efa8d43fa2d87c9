"""The arguments of a call taken apart into their tensors, and put together again."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import PackedSequence

PLAIN = (bool, int, float, str, bytes, type(None), torch.dtype, torch.device)


@dataclass(frozen=True)
class Slot:
    """Where a tensor stood; `name` is the innermost argument or key above it."""

    index: int
    name: str


@dataclass(frozen=True)
class Arguments:
    """The positional and named arguments of one call.

    `tensors` are its dense tensors, in their order; `form` is `(args, kwargs)` with a `Slot` for each of them. What is
    no tensor stays in it. `opaque` tells that some of it can't be taken apart: a graph, a packed sequence, a sparse
    tensor.
    """

    form: Any
    tensors: tuple[torch.Tensor, ...]
    opaque: bool

    @staticmethod
    def of(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Arguments:
        """Take a call's arguments apart; tensors are copied, without their graph.

        Raises:
            Exception: whatever an argument raises that can't be copied.
        """
        taking = _Taking()
        form = (
            tuple(taking.apart(value, str(number)) for number, value in enumerate(args)),
            {name: taking.apart(value, name) for name, value in kwargs.items()},
        )
        return Arguments(form, tuple(taking.tensors), taking.opaque)

    def on_cpu(self) -> Arguments:
        """The same arguments with their tensors in the machine's own memory."""
        return dataclasses.replace(self, tensors=tuple(value.cpu() for value in self.tensors))

    @property
    def slots(self) -> tuple[Slot, ...]:
        """A slot for each tensor."""
        return tuple(slots_of(self.form))

    @property
    def is_one_tensor(self) -> bool:
        """Whether the call has one argument, which is a tensor of samples."""
        args, kwargs = self.form
        return len(args) == 1 and not kwargs and isinstance(args[0], Slot) and self.tensors[0].ndim > 0


class _Taking:
    def __init__(self) -> None:
        self.tensors: list[torch.Tensor] = []
        self.opaque = False

    def apart(self, value: Any, name: str) -> Any:
        if isinstance(value, torch.Tensor):
            return self._tensor(value, name)
        if isinstance(value, PLAIN):
            return value
        if isinstance(value, PackedSequence):
            self.opaque = True
            parts: list[Any] = [part if part is None else part.detach().clone() for part in value]
            return type(value)(*parts)
        if isinstance(value, Mapping):
            return _same_mapping(value, {key: self.apart(item, str(key)) for key, item in value.items()})
        if isinstance(value, tuple | list):
            return _same_sequence(value, [self.apart(item, name) for item in value])
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {each.name: getattr(value, each.name) for each in dataclasses.fields(value) if each.init}
            return dataclasses.replace(value, **{key: self.apart(item, key) for key, item in fields.items()})
        self.opaque = True
        return copy.deepcopy(value)

    def _tensor(self, value: torch.Tensor, name: str) -> Any:
        value = value.detach().clone()
        if value.layout is not torch.strided or value.is_nested:
            self.opaque = True
            return value
        self.tensors.append(value)
        return Slot(len(self.tensors) - 1, name)


def put_together(form: Any, tensors: Sequence[torch.Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """`(args, kwargs)` with tensors in the places of their slots."""
    args, kwargs = _filled(form, tensors)
    return args, kwargs


def _filled(value: Any, tensors: Sequence[torch.Tensor]) -> Any:
    return mapped(value, lambda part: tensors[part.index] if isinstance(part, Slot) else part)


def mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """A tree of the same kind with other parts: what `change` gives for a part, else the same of what is within it."""
    changed = change(value)
    if changed is not value or isinstance(value, PackedSequence | torch.Tensor):
        return changed
    if isinstance(value, Mapping):
        return _same_mapping(value, {key: mapped(item, change) for key, item in value.items()})
    if isinstance(value, tuple | list):
        return _same_sequence(value, [mapped(item, change) for item in value])
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {each.name: getattr(value, each.name) for each in dataclasses.fields(value) if each.init}
        return dataclasses.replace(value, **{key: mapped(item, change) for key, item in fields.items()})
    return value


def slots_of(value: Any) -> list[Slot]:
    """The slots within a form, in their order."""
    if isinstance(value, Slot):
        return [value]
    if isinstance(value, PackedSequence | torch.Tensor):
        return []
    if isinstance(value, Mapping):
        return [slot for item in value.values() for slot in slots_of(item)]
    if isinstance(value, tuple | list):
        return [slot for item in value for slot in slots_of(item)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [slot for each in dataclasses.fields(value) if each.init for slot in slots_of(getattr(value, each.name))]
    return []


def names_of(slots: Sequence[Slot]) -> list[str]:
    """The names of slots, with a number behind those that others have too."""
    names = [slot.name for slot in slots]
    return [
        f"{name} {names[:place].count(name)}" if names.count(name) > 1 else name for place, name in enumerate(names)
    ]


def _same_mapping(value: Mapping[Any, Any], items: dict[Any, Any]) -> Any:
    """A mapping of the same kind: a dict, an OrderedDict, a tokenizer's BatchEncoding."""
    return items if type(value) is dict else type(value)(items)  # type: ignore[call-arg]


def _same_sequence(value: Sequence[Any], items: list[Any]) -> Any:
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*items)  # type: ignore[arg-type]
    return tuple(items) if isinstance(value, tuple) else items
