"""The first NaN or infinity of one more pass of a model: forward, and backward from there, on a copy."""

from __future__ import annotations

import cmath
import contextlib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import nn

from firstfault.place import Kind, Place
from firstfault.probe.replica import hooked, replica
from firstfault.training.tensors import named_tensors, tensors_in

FINITE, INFINITE, NAN = 0, 1, 2
"""What a tensor holds at worst."""
BACKWARD = "in the backward pass"


class Call(NamedTuple):
    """One call of a model of the loop."""

    name: str
    model: nn.Module
    args: Any
    kwargs: Any


def finite(value: torch.Tensor) -> bool:
    """Whether all values are finite; whole numbers are."""
    return strength(value) == FINITE


def strength(value: torch.Tensor) -> int:
    """FINITE, INFINITE or NAN."""
    if not (value.is_floating_point() or value.is_complex()) or value.is_meta or value.is_nested:
        return FINITE
    value = value.detach()
    value = value.coalesce().values() if value.is_sparse else value
    if cmath.isfinite(value.sum().item()) or bool(torch.isfinite(value).all()):  # a sum may overflow
        return FINITE
    return NAN if bool(torch.isnan(value).any()) else INFINITE


def arguments(module: nn.Module, args: Any, kwargs: Any) -> list[tuple[str, torch.Tensor]]:
    """The tensors that a module is given, by argument, less masks: −inf is what they are made of.

    One alone has no name.
    """
    try:
        bound = inspect.signature(module.forward).bind(*args, **kwargs).arguments
    except (TypeError, ValueError):
        bound = {"": args, **kwargs}
    found = [
        (name, value)
        for argument, given in bound.items()
        for name, value in named_tensors(argument, given)
        if not _masks(argument, name, value)
    ]
    return [("", found[0][1])] if len(found) == 1 and found[0][0] in (*bound, "input", "x") else found


def _masks(argument: str, name: str, value: torch.Tensor) -> bool:
    if "mask" in f"{argument} {name}".lower() or "bias" in f"{argument} {name}".lower():
        return True
    if not value.is_floating_point() or value.is_nested or value.is_sparse or not bool((value == -torch.inf).any()):
        return False
    return bool(((value == 0) | (value == -torch.inf)).all())


def _worst(values: Iterator[torch.Tensor]) -> int:
    return max(map(strength, values), default=FINITE)


# ---------------------------------------------------------------------- forward


@dataclass
class _Frame:
    """A module that is being called, and the last one that it called."""

    name: str
    last: str = ""


@dataclass
class _Forward:
    """The first non-finite values of one forward pass, in the order of its calls.

    Infinities alone may be meant (masked scores), so that they are blamed only where a NaN comes of them or they reach
    the output.
    """

    names: Mapping[int, str]
    stack: list[_Frame] = field(default_factory=list)
    infinite: Place | None = None
    nan: Place | None = None

    def entered(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        parent = self.stack[-1] if self.stack else None
        name = self.names.get(id(module), type(module).__name__)
        if parent is not None:
            between = (
                f"the operations between {parent.last} and {name}" if parent.last else f"the operations before {name}"
            )
            self._take(
                _worst(value for _, value in arguments(module, args, kwargs)),
                Place.part(between),
                from_infinite=self.infinite is not None,
            )
        self.stack.append(_Frame(name))

    def left(self, module: nn.Module, args: Any, kwargs: Any, outputs: Any) -> None:
        frame = self.stack.pop()
        if self.stack:
            self.stack[-1].last = frame.name
        place = Place(Kind.MODULE, (frame.name,), note=f"after {frame.last}" if frame.last else None)
        given = _worst(value for _, value in arguments(module, args, kwargs)) if self.nan is None else FINITE
        self._take(_worst(tensors_in(outputs)), place, from_infinite=given == INFINITE)

    def _take(self, strength: int, place: Place, *, from_infinite: bool) -> None:
        if strength == NAN and self.nan is None:
            self.nan = self.infinite if from_infinite and self.infinite is not None else place
        elif strength == INFINITE and self.infinite is None:
            self.infinite = place


def in_forward(call: Call, names: Mapping[int, str]) -> Place | None:
    """The innermost module, or the operations between two, that made a non-finite value of finite ones, in one more
    call.
    """
    with replica(call.model, names) as (model, known):
        seen = _Forward(known)
        outputs: Any = ()
        with hooked(model, seen.entered, seen.left), torch.no_grad(), contextlib.suppress(Exception):
            outputs = model(*call.args, **call.kwargs)
    return seen.nan or (seen.infinite if _worst(tensors_in(outputs)) else None)


# ---------------------------------------------------------------------- backward


@dataclass
class _Passed:
    """A tensor between modules: who made it, who took it, who was called next."""

    tensor: torch.Tensor
    made_by: list[str] = field(default_factory=list)
    taken_by: list[str] = field(default_factory=list)
    next: str = ""

    @property
    def place(self) -> Place:
        """Where its gradient comes from."""
        if self.taken_by:
            return Place(Kind.MODULE, (self.taken_by[-1],), note=BACKWARD)
        until = f"between {self.made_by[0]} and {self.next}" if self.next else f"after {self.made_by[0]}"
        return Place(Kind.PART, (f"the operations {until}",), note=BACKWARD)


@dataclass
class _Backward:
    """The gradients of what modules took and made, looked at when they are there."""

    names: Mapping[int, str]
    passed: dict[int, _Passed] = field(default_factory=dict)
    made: _Passed | None = None
    first: _Passed | None = None

    def entered(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        name = self.names.get(id(module), type(module).__name__)
        if self.made is not None and not self.made.next:
            self.made.next = name
        for value in tensors_in((args, kwargs)):
            if value.requires_grad:
                self._of(value).taken_by.append(name)

    def left(self, module: nn.Module, args: Any, kwargs: Any, outputs: Any) -> None:
        for value in tensors_in(outputs):
            if value.requires_grad:
                self.made = self._of(value)
                self.made.made_by.append(self.names.get(id(module), type(module).__name__))

    def _of(self, value: torch.Tensor) -> _Passed:
        if id(value) not in self.passed:
            self.passed[id(value)] = entry = _Passed(value)
            value.register_hook(lambda gradient: self._look(entry, gradient))  # type: ignore[no-untyped-call]
        return self.passed[id(value)]

    def _look(self, entry: _Passed, gradient: torch.Tensor) -> None:
        if self.first is None and not finite(gradient):
            self.first = entry


def in_backward(call: Call, names: Mapping[int, str]) -> Place | None:
    """Where a gradient of the sum of the outputs is the first to be non-finite."""
    with replica(call.model, names) as (model, known), contextlib.suppress(Exception):
        seen = _Backward(known)
        with torch.enable_grad():
            with hooked(model, seen.entered, seen.left):
                outputs = [
                    value
                    for value in tensors_in(model(*_fresh(call.args), **_fresh(call.kwargs)))
                    if value.requires_grad
                ]
            total = torch.stack([value.float().sum() for value in outputs]).sum()
        torch.autograd.grad(total, [value for value in model.parameters() if value.requires_grad], allow_unused=True)
        return seen.first.place if seen.first is not None else None
    return None


def _fresh(value: Any) -> Any:
    """The same values without the graph that they came from."""
    if isinstance(value, torch.Tensor):
        return value.detach()
    if isinstance(value, dict):
        return {key: _fresh(item) for key, item in value.items()}
    return type(value)(map(_fresh, value)) if type(value) in (list, tuple) else value
