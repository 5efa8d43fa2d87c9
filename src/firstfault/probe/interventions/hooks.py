"""Where an intervention takes hold: optimizer steps, backward passes, calls of outermost models, functions of torch."""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from firstfault.probe.transform_guard import transforming
from firstfault.training.patching import replace

Call = Callable[..., Any]


@contextlib.contextmanager
def around_steps(before: Callable[[Any], None], after: Callable[[Any], None] | None = None) -> Iterator[None]:
    """Call `before` and `after` with the optimizer of every step; one that a step calls itself is a part of it."""
    depth: dict[int, int] = {}

    def enter(optimizer: Any, args: Any, kwargs: Any) -> None:
        depth[id(optimizer)] = depth.get(id(optimizer), 0) + 1
        if depth[id(optimizer)] == 1:
            before(optimizer)

    def leave(optimizer: Any, args: Any, kwargs: Any) -> None:
        depth[id(optimizer)] = max(0, depth.get(id(optimizer), 0) - 1)
        if depth[id(optimizer)] == 0 and after is not None:
            after(optimizer)

    handles = [register_optimizer_step_pre_hook(enter), register_optimizer_step_post_hook(leave)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def replaced(owner: Any, name: str, call: Callable[[Call, tuple[Any, ...], dict[str, Any]], Any]) -> Iterator[None]:
    """Put `call(original, args, kwargs)` in the place of a function."""

    def around(original: Call) -> Call:
        @functools.wraps(original)
        def changed(*args: Any, **kwargs: Any) -> Any:
            return call(original, args, kwargs)

        return changed

    take_back = replace(owner, name, around)
    try:
        yield
    finally:
        take_back()


@contextlib.contextmanager
def optimizers_made(after: Callable[[Any], None]) -> Iterator[None]:
    """Call `after` with every optimizer as it was constructed."""

    def constructed(init: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        init(*args, **kwargs)
        after(args[0])

    with replaced(torch.optim.Optimizer, "__init__", constructed):
        yield


@contextlib.contextmanager
def before_backward(change: Callable[[Any], Any]) -> Iterator[None]:
    """Call `change` with what a backward pass begins from; the pass begins from what it gives."""

    def call(backward: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            return backward(change(args[0]), *args[1:], **kwargs)
        return backward(**{**kwargs, "tensors": change(kwargs["tensors"])})

    with replaced(torch.autograd, "backward", call):
        yield


@contextlib.contextmanager
def around_models(
    before: Callable[[nn.Module, Any, Any], tuple[Any, Any] | None], after: Callable[[nn.Module], None] | None = None
) -> Iterator[None]:
    """Call `before` and `after` around every call of an outermost module with parameters.

    `before` may give other arguments.
    """
    open_: list[nn.Module] = []
    known: weakref.WeakKeyDictionary[nn.Module, bool] = weakref.WeakKeyDictionary()

    def is_model(module: nn.Module) -> bool:
        if module not in known:
            known[module] = next(module.parameters(), None) is not None
        return known[module]

    def call(original: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        module, given = args[0], args[1:]
        if torch.compiler.is_compiling() or open_ or transforming() or not is_model(module):
            return original(*args, **kwargs)
        open_.append(module)
        try:
            given, kwargs = before(module, given, kwargs) or (given, kwargs)
            return original(module, *given, **kwargs)
        finally:
            open_.clear()
            if after is not None:
                after(module)

    with replaced(nn.Module, "__call__", call):
        yield
