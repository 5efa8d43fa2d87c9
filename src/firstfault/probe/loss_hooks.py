"""Listening to the loss functions of torch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.nn import functional

from firstfault.probe.transform_guard import transforming
from firstfault.training.losses import WATCHED
from firstfault.training.patching import replace

Heard = Callable[[str, Mapping[str, Any], Any], None]


def hear_losses(heard: Heard, wanted: Callable[[], bool]) -> list[Callable[[], None]]:
    """Call `heard(name, given, value)` after every call of a loss function, where it is `wanted`; gives what ends it.

    `given` are its arguments by name, the first two as `input` and `target`. Nothing is heard while a model is
    compiled, or inside `torch.func`.
    """

    def around(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def observed(*args: Any, **kwargs: Any) -> Any:
            value = function(*args, **kwargs)
            if not torch.compiler.is_compiling() and wanted() and not transforming():
                heard(name, dict(zip(("input", "target"), args, strict=False)) | kwargs, value)
            return value

        return observed

    return [replace(functional, name, functools.partial(around, name)) for name in WATCHED]
