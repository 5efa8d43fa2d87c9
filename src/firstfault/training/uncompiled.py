"""Optimizers without torch's compiler where nothing was compiled: its import takes longer than a small target.

Each method of torch 2 below leaves a graph of `torch.compile` by a call into `torch._dynamo`, which it imports at its
first use (1.3 CPU seconds, 900 modules). Outside of such a graph these calls say nothing.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer

COMPILER = "torch._dynamo"
LEAVING = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
"""The methods of every optimizer that leave a compiled graph; each class's `step` does, too."""
WRAPPERS = ("inner", "_use_grad")
"""The functions of torch that do so, around the plain method: others, as `no_grad`, are left alone."""


def spare_compiler() -> None:
    """Let torch's optimizers run without its compiler, until something else imports it."""
    if COMPILER in sys.modules:
        return
    for name in LEAVING:
        _replace(Optimizer, name, lambda plain, *args, **kwargs: plain(*args, **kwargs))
    for kind in _own_classes():
        _replace(kind, "step", _step)


def _own_classes() -> list[type[Optimizer]]:
    """The optimizers that torch itself defines, which alone are known to be wrapped so."""
    return [kind for kind in Optimizer.__subclasses__() if kind.__module__.startswith("torch.optim.")]


def _step(plain: Callable[..., Any], optimizer: Optimizer, *args: Any, **kwargs: Any) -> Any:
    with torch.set_grad_enabled(optimizer.defaults["differentiable"]):
        return plain(optimizer, *args, **kwargs)


def _replace(kind: type[Optimizer], name: str, run: Callable[..., Any]) -> None:
    """Call what a method wraps, by `run`; and the method as it was, once the compiler is there."""
    wrapping: Any = kind.__dict__.get(name)
    plain = getattr(wrapping, "__wrapped__", None)
    if plain is None or wrapping.__code__.co_name not in WRAPPERS:
        return

    @functools.wraps(plain)
    def method(*args: Any, **kwargs: Any) -> Any:
        return wrapping(*args, **kwargs) if COMPILER in sys.modules else run(plain, *args, **kwargs)

    setattr(kind, name, method)
