"""Where a NaN or infinity was born: input, weight, activation, loss or gradient, and in which module."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn


def birthplace(kind: str, calls: Mapping[str, tuple[nn.Module, Any, Any]], parameters: Mapping[str, torch.Tensor], names: Mapping[int, str]) -> tuple[str, str]:
    """Kind and place of the first non-finite tensor of a step.

    Args:
        kind: what was seen to be non-finite: loss, gradient or weight.
        calls: the last call of each model by name: the model, its arguments and keyword arguments.
        parameters: the parameters by name, in the order of the models.
        names: names of modules by id.
    """
    for name, (_, args, kwargs) in calls.items():
        if not all(map(finite, tensors_in((args, kwargs)))):
            return "input", f"the input of {name}"
    for name, value in parameters.items():
        if not finite(value.detach()):
            return "weight", name
    for model, args, kwargs in calls.values():
        place = _in_forward(model, args, kwargs, names)
        if place:
            return "activation", place
    return ("gradient", _in_backward(parameters)) if kind == "gradient" else (kind, "the loss" if kind == "loss" else kind)


def finite(value: torch.Tensor) -> bool:
    """Whether all values are finite; whole numbers are."""
    return not value.is_floating_point() or bool(torch.isfinite(value).all())


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """The tensors in nested tuples, lists, mappings and dataclass-like outputs."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from tensors_in(item)


def _in_forward(model: nn.Module, args: Any, kwargs: Any, names: Mapping[int, str]) -> str | None:
    """The innermost module that made a non-finite output of finite inputs, when the model is called once more."""
    found: list[str] = []

    def look(module: nn.Module, given: Any, outputs: Any) -> None:
        if not found and not all(map(finite, tensors_in(outputs))):
            found.append(names.get(id(module), type(module).__name__))

    with _untouched(model), _hooked(model, look), torch.no_grad(), contextlib.suppress(Exception):
        model(*args, **kwargs)
    return found[0] if found else None


@contextlib.contextmanager
def _hooked(model: nn.Module, look: Callable[..., None]) -> Iterator[None]:
    handles = [module.register_forward_hook(look) for module in model.modules()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def _untouched(model: nn.Module) -> Iterator[None]:
    """Put buffers and random state back at the end."""
    kept = {name: value.detach().clone() for name, value in model.named_buffers()}
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            for name, value in model.named_buffers():
                if name in kept:
                    value.data.copy_(kept[name])


def _in_backward(parameters: Mapping[str, torch.Tensor]) -> str:
    """The last parameter, in the order of the model, whose gradient is not finite: a NaN spreads from there to the input."""
    bad = [name for name, value in parameters.items() if value.grad is not None and not finite(value.grad)]
    return f"{bad[-1]} in the backward pass" if bad else "a gradient"
