"""The tensors within what a module takes or gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeGuard

import torch


def is_float(value: object) -> TypeGuard[torch.Tensor]:
    """Whether something is a tensor of floats."""
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def tensors_in(value: object) -> Iterator[torch.Tensor]:
    """The tensors in nested tuples, lists, mappings and dataclass-like outputs."""
    return (tensor for _, tensor in named_tensors("", value))


def named_tensors(name: str, value: object) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors in nested tuples, lists and mappings, each with the innermost key above it, else `name`."""
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from named_tensors(name, item)
    elif isinstance(value, Mapping):  # last, since asking an abstract class is slow
        for key, item in value.items():
            yield from named_tensors(str(key), item)
