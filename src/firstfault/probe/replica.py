"""A copy of a model to call once more, without a trace in the model or in the random generators."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from firstfault.interrupts import pass_on
from firstfault.seeds import same_random_state

WRAPPERS = ("DistributedDataParallel", "DataParallel")


@contextlib.contextmanager
def replica(model: nn.Module, names: Mapping[int, str]) -> Iterator[tuple[nn.Module, Mapping[int, str]]]:
    """A copy of a model with the same parameters and buffers of its own, names of its modules.

    Random state is put back at the end.
    """
    model = unwrapped(model)
    with same_random_state([model]):
        try:
            twin = copy.deepcopy(model, _shared(model))
        except BaseException as error:
            pass_on(error)
            with _same_buffers(model):
                yield model, names
            return
        pairs = list(zip(model.modules(), twin.modules(), strict=False))
        yield twin, {id(copied): names.get(id(module), type(module).__name__) for module, copied in pairs}


def unwrapped(model: nn.Module) -> nn.Module:
    """What torch.compile or a parallel wrapper holds: a call of it waits for no other process."""
    inner = getattr(model, "_orig_mod", None) or (model.module if type(model).__name__ in WRAPPERS else None)
    return unwrapped(inner) if isinstance(inner, nn.Module) else model


def _shared(model: nn.Module) -> dict[int, Any]:
    """What a copy has in common with its model: parameters, and tensors that were computed."""
    kept: dict[int, Any] = {id(value): value for value in model.parameters()}
    for module in model.modules():
        kept |= {
            id(value): value
            for value in vars(module).values()
            if isinstance(value, torch.Tensor) and value.grad_fn is not None
        }
    return kept


@contextlib.contextmanager
def hooked(model: nn.Module, entered: Callable[..., None], left: Callable[..., None]) -> Iterator[None]:
    """Calls of every module are told before and after, with their arguments."""
    handles = [module.register_forward_pre_hook(entered, with_kwargs=True) for module in model.modules()]
    handles += [module.register_forward_hook(left, with_kwargs=True) for module in model.modules()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def _same_buffers(model: nn.Module) -> Iterator[None]:
    kept = {name: value.detach().clone() for name, value in model.named_buffers()}
    try:
        yield
    finally:
        for name, value in model.named_buffers():
            if name in kept:
                value.data.copy_(kept[name])
