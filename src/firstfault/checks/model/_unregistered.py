"""Modules that a forward pass calls and that the model does not know: in plain lists, in dicts, made on the way."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.modules import module as modules

from firstfault.subject.memo import memo
from firstfault.subject.model_inputs import sound_batch
from firstfault.subject.subject import Subject

BatchNorm = nn.modules.batchnorm._BatchNorm
Dropout = nn.modules.dropout._DropoutNd
MOST_DEEP = 3  # lists in lists


class Unregistered(NamedTuple):
    """Names of modules that were called with gradients on, and are no part of the model."""

    weighted: tuple[str, ...]
    """Those with weights that are to be trained."""
    norms: tuple[str, ...]
    """Batch normalisation in train mode, which eval() does not reach."""
    dropouts: tuple[str, ...]
    """Dropout in train mode."""


@memo(of="model")
def unregistered(subject: Subject) -> Unregistered:
    """Those that a forward pass in eval mode calls, by the attribute that holds them, else by their class."""
    model = subject.fresh_model().eval()
    known = {id(module) for module in model.modules()}
    called: dict[int, nn.Module] = {}

    def hook(module: nn.Module, inputs: Any) -> None:
        if id(module) not in known and torch.is_grad_enabled():
            called.setdefault(id(module), module)

    handle = modules.register_module_forward_pre_hook(hook)
    try:
        with contextlib.suppress(ValueError), torch.random.fork_rng(devices=[]), torch.enable_grad():
            model(sound_batch(subject).x)  # batch normalisation that trains refuses a single sample
    finally:
        handle.remove()
    names = {id(module): name for owner, module in model.named_modules() for name, module in _held(owner, module)}
    named = [(names.get(key, type(module).__name__), module) for key, module in called.items()]
    return Unregistered(
        tuple(name for name, module in named if any(value.requires_grad for value in module.parameters(recurse=False))),
        tuple(name for name, module in named if isinstance(module, BatchNorm) and module.training),
        tuple(name for name, module in named if isinstance(module, Dropout) and module.training and module.p > 0),
    )


def _held(owner: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules, and those in them, that a module holds in lists, tuples and dicts."""
    for key, value in vars(module).items():
        if not key.startswith("_"):
            yield from _within(f"{owner}.{key}".lstrip("."), value, 0)


def _within(name: str, value: Any, depth: int) -> Iterator[tuple[str, nn.Module]]:
    if isinstance(value, nn.Module) and depth:
        for inner, module in value.named_modules():
            yield f"{name}.{inner}".rstrip("."), module
    elif depth < MOST_DEEP and isinstance(value, list | tuple | Mapping):
        for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _within(f"{name}[{key!r}]", item, depth + 1)
