"""Backward passes that the user wrote by hand, beside the differences of what they are the derivatives of."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.autograd import Function

from firstfault.interrupts import pass_on
from firstfault.place import Place
from firstfault.probe.code_lines import line_of_function
from firstfault.probe.record import HandWritten
from firstfault.training.tensors import is_float

MOST_LOOKS, MOST_NODES = 2, 20_000
"""Backward passes whose graph is looked at, and operations of each: bound the time."""
MOST_VALUES, MOST_COORDINATES = 1_000_000, 24
"""Values of the inputs of a function that is asked again, and those of an input that are moved."""
STEP = 1e-4
"""By which a number is moved, in float64: an error of some 1e-8 by curvature."""
SMOOTH, OFF, FAINT = 0.01, 0.1, 1e-3
"""Of a derivative: by how much two step sizes may disagree, by how much the user's may, and what may be rounding."""


class CustomGradients:
    """Finds the user's autograd functions in the graphs of a training's first losses, and keeps a call of each."""

    def __init__(self) -> None:
        self._looks = 0
        self._calls: dict[type[Function], tuple[Any, ...] | None] = {}
        self._undo: list[Callable[[], None]] = []

    def learnt(self, loss: torch.Tensor) -> None:
        """A backward pass begins with this loss."""
        if self._looks == MOST_LOOKS:
            return
        self._looks += 1
        for function in own_functions(loss):
            if function not in self._calls:
                self._calls[function] = None
                self._undo.append(self._listen(function))

    def _listen(self, function: type[Function]) -> Callable[[], None]:
        """Keep what the function is given in its next call; `apply` looks `forward` up in each."""
        own, forward = inspect.getattr_static(function, "forward"), function.forward
        first = 0 if function.setup_context is not Function.setup_context else 1

        def kept(*args: Any) -> Any:
            if self._calls[function] is None:
                self._calls[function] = _copies(args[first:])
            return forward(*args)

        setattr(function, "forward", staticmethod(kept))  # noqa: B010 (mypy: a method)
        return functools.partial(setattr, function, "forward", own)

    def close(self) -> list[HandWritten]:
        """Listen no longer; gives the functions that could be judged."""
        for take_back in self._undo:
            take_back()
        judged = [(function, share_off(function, args)) for function, args in self._calls.items() if args]
        return [HandWritten(each.__name__, off, _line(each)) for each, off in judged if off is not None]


def _line(function: type[Function]) -> Place | None:
    return line_of_function(inspect.unwrap(function.backward))


def own_functions(loss: torch.Tensor) -> Iterator[type[Function]]:
    """The classes of autograd functions of the user's own in the graph of a loss."""
    seen: set[Any] = set()
    waiting = [loss.grad_fn]
    while waiting and len(seen) < MOST_NODES:
        node: Any = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        function = getattr(node, "_forward_cls", None)
        if function is not None and _line(function) is not None:
            yield function
        waiting.extend(entry[0] for entry in node.next_functions)


def share_off(function: type[Function], args: Sequence[Any]) -> float | None:
    """The share, 0–1, of the numbers at which a backward pass is not the derivative of its forward pass.

    That of the first input, or of another whose derivative has the other sign. A number counts where the forward pass
    is smooth and moves with it: a rounding, a step or a clamp is passed straight through on purpose. None where no
    number of an input counts that has a slope, as of what is rounded to a learnt step, or where the forward pass gives
    back what it is given: then its backward pass is what it is there for.
    """
    try:
        with torch.random.fork_rng(devices=[]):
            return _share_off(function, args)
    except Exception as error:  # the user's function takes no float64, or another device only
        pass_on(error)
        return None


def _share_off(function: type[Function], args: Sequence[Any]) -> float | None:
    values = [value.double() if is_float(value) else value for value in args]
    inputs = [value.requires_grad_() for value, given in zip(values, args, strict=True) if _learns(given)]
    if not inputs:
        return None
    with torch.enable_grad():
        outputs = _floats(function.apply(*values))  # type: ignore[no-untyped-call]
        if any(torch.equal(out, value) for out in outputs for value in inputs):
            return None
        weights = [torch.randn(out.shape, dtype=out.dtype, generator=_seeded()) for out in outputs]
        total = sum((out * weight).sum() for out, weight in zip(outputs, weights, strict=True))
        slopes = torch.autograd.grad(total, inputs, allow_unused=True)  # type: ignore[arg-type]

    def ask() -> torch.Tensor:
        with torch.no_grad():
            outputs = _floats(function.apply(*values))  # type: ignore[no-untyped-call]
        return torch.cat([(out * weight).flatten() for out, weight in zip(outputs, weights, strict=True)])

    shares: list[float] = []
    for value, slope in zip(inputs, slopes, strict=True):
        if slope is None or not slope.any():
            continue
        pairs = _pairs(value, slope, ask)
        if not pairs:  # passed through where nothing moves: the slopes of other inputs are made to fit that
            return None
        differs = _other_sign if shares else _differs
        shares.append(sum(differs(*pair) for pair in pairs) / len(pairs))
    return max(shares, default=None)


def _pairs(value: torch.Tensor, slope: torch.Tensor, ask: Callable[[], torch.Tensor]) -> list[tuple[float, float]]:
    """The user's derivative and the measured one, in numbers of an input at which the forward pass is smooth."""
    flat, found = value.detach().view(-1), []
    for place in torch.randperm(len(flat), generator=_seeded())[:MOST_COORDINATES].tolist():
        wide, narrow = (_difference(flat, place, step, ask) for step in (STEP, STEP / 2))
        size = float(narrow.norm())
        if size > 0 and float((wide - narrow).norm()) <= SMOOTH * size and abs(float(narrow.sum())) > FAINT * size:
            found.append((float(slope.reshape(-1)[place]), float(narrow.sum())))
    return found


def _difference(flat: torch.Tensor, place: int, step: float, ask: Callable[[], torch.Tensor]) -> torch.Tensor:
    """The central difference of the outputs in one number, which ends as it was."""
    before = flat[place].clone()
    flat[place] = before + step
    above = ask()
    flat[place] = before - step
    below = ask()
    flat[place] = before
    return (above - below) / (2 * step)


def _differs(slope: float, measured: float) -> bool:
    return abs(slope - measured) > OFF * max(abs(slope), abs(measured))


def _other_sign(slope: float, measured: float) -> bool:
    return slope * measured < 0


def _copies(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """What a function is given, with tensors of its own; nothing where they are too large."""
    tensors = [value for value in args if isinstance(value, torch.Tensor)]
    if sum(value.numel() for value in tensors) > MOST_VALUES:
        return ()
    return tuple(
        value.detach().clone().requires_grad_(value.requires_grad) if isinstance(value, torch.Tensor) else value
        for value in args
    )


def _learns(value: Any) -> bool:
    return is_float(value) and bool(value.requires_grad)


def _floats(outputs: Any) -> list[torch.Tensor]:
    several = outputs if isinstance(outputs, tuple) else (outputs,)
    return [out for out in several if is_float(out)]


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)
