"""The torch functions that a forward pass calls, as modules or as functions: recorded, or replaced."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from firstfault.place import Kind, Place

SATURATING = ("sigmoid", "tanh", "softsign", "hardsigmoid", "hardtanh")
RECORDED = frozenset(
    {
        *SATURATING,
        "relu",
        "relu6",
        "softmax",
        "log_softmax",
        "dropout",
        "dropout1d",
        "dropout2d",
        "dropout3d",
        "alpha_dropout",
        "feature_dropout",
        "scaled_dot_product_attention",
        "multi_head_attention_forward",
        "linear",
        "max_pool1d",
        "max_pool2d",
        "max_pool3d",
    }
)


@dataclass(frozen=True)
class Call:
    """One call of a torch function; `where` is the module that made it, empty for the model itself."""

    name: str
    where: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    result: Any

    @property
    def place(self) -> Place:
        """The module, or the function in the model's own forward."""
        return Place(Kind.MODULE, (self.where,)) if self.where else Place.part(f"{self.name} in forward")


def name_of(function: object) -> str:
    """The bare name of a torch function: `relu` for F.relu, torch.relu_ and Tensor.relu."""
    return getattr(function, "__name__", "").strip("_")


@contextlib.contextmanager
def followed(model: nn.Module, inside: list[str]) -> Iterator[None]:
    """Keep in `inside` the names of the modules whose forward pass runs, the innermost last."""
    handles = []
    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(lambda *_, name=name: inside.append(name)))
        handles.append(module.register_forward_hook(lambda *_: _pop(inside), always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _pop(names: list[str]) -> None:
    names.pop()  # a hook that returned the name would replace the module's output


class _Tape(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.inside: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = name_of(func), kwargs or {}
        kept = (
            tuple(arg.detach().clone() if isinstance(arg, torch.Tensor) else arg for arg in args[:1])
            if name in RECORDED
            else ()
        )
        result = func(*args, **kwargs)
        if name in RECORDED:
            self.calls.append(Call(name, self.inside[-1] if self.inside else "", (*kept, *args[1:]), kwargs, result))
        return result


def record(model: nn.Module, x: torch.Tensor) -> tuple[Any, list[Call]]:
    """What `model(x)` returns, and the recorded functions that it called, in order.

    The mode of the model is kept, and so is the random state. The first argument of each call is a copy.
    """
    tape = _Tape()
    with followed(model, tape.inside), torch.random.fork_rng(devices=[]), tape:
        return model(x), tape.calls


def softmax_axis(call: Call) -> int | None:
    """The axis, from 0, over which a recorded softmax runs; None where it can't be told."""
    ndim = call.args[0].ndim if call.args and isinstance(call.args[0], torch.Tensor) else 0
    axis = call.kwargs.get("dim", call.args[1] if len(call.args) > 1 else None)
    if axis is None:
        axis = 0 if ndim in (0, 1, 3) else 1  # what torch does without `dim`
    return axis % ndim if isinstance(axis, int) and ndim else None


def flag(call: Call, name: str, position: int, default: Any) -> Any:
    """An argument of a recorded call, by name or position."""
    return call.kwargs.get(name, call.args[position] if len(call.args) > position else default)
