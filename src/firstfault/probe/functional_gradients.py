"""Loops that learn by `torch.func`, whose gradients come without a backward pass."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._pytree import tree_map

from firstfault.interrupts import pass_on
from firstfault.probe.record import Record
from firstfault.probe.sampling_schedule import Pace
from firstfault.probe.series import Series
from firstfault.probe.transform_guard import transforming
from firstfault.training.patching import replace
from firstfault.training.tensors import is_float

Look = Callable[[Callable[[], torch.Tensor]], None]


class FunctionalGradients:
    """Counts the gradients that a loop takes by `torch.func.grad`, also of samples or models side by side by `vmap`.

    Inside such a transform no tensor can be read. What it differentiates has no effects but its result, so that it is
    called once more in the open, on the steps that are sampled: `look` is given that call. Where a loop learns by
    backward passes too, these are its steps, and nothing here counts.
    """

    def __init__(self, record: Record, pace: Pace, paused: Callable[[], bool], look: Look) -> None:
        self._record, self._pace, self._paused, self._look = record, pace, paused, look
        self._steps = 0
        self._loss = Series()

    def patches(self) -> list[Callable[[], None]]:
        """Begin to listen."""
        whole = torch.func.grad_and_value
        return [
            replace(torch.func, "grad_and_value", self._around),
            replace(torch.func, "grad", lambda grad: self._around(whole, only_gradient=True)),
            replace(torch.func, "vmap", self._around_vmap),
        ]

    def close(self) -> None:
        """Put the steps into the record of a loop that made no others."""
        if self._steps and not self._record.backwards and not self._record.steps:
            self._record.steps = self._record.backwards = self._steps
            self._record.loss = self._loss

    def _around(self, whole: Callable[..., Any], *, only_gradient: bool = False) -> Callable[..., Any]:
        @functools.wraps(whole)
        def made(function: Callable[..., Any], argnums: Any = 0, has_aux: bool = False) -> Callable[..., Any]:
            differentiated = whole(function, argnums, has_aux)

            def open_call(args: Sequence[Any], kwargs: Any) -> torch.Tensor:
                learns = {argnums} if isinstance(argnums, int) else set(argnums)
                given = [_leaves(arg) if place in learns else arg for place, arg in enumerate(args)]
                result = function(*given, **kwargs)
                return result[0] if has_aux else result  # type: ignore[no-any-return]

            @functools.wraps(function)
            def gradient(*args: Any, **kwargs: Any) -> Any:
                gradients, value = differentiated(*args, **kwargs)
                self._learnt(value[0] if has_aux else value, functools.partial(open_call, args, kwargs))
                if only_gradient:
                    return (gradients, value[1]) if has_aux else gradients
                return gradients, value

            gradient.open_call = open_call  # type: ignore[attr-defined]
            return gradient

        return made

    def _around_vmap(self, vmap: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(vmap)
        def made(function: Callable[..., Any], in_dims: Any = 0, *others: Any, **settings: Any) -> Callable[..., Any]:
            mapped = vmap(function, in_dims, *others, **settings)
            open_call = getattr(function, "open_call", None)
            if open_call is None:
                return mapped  # type: ignore[no-any-return]

            @functools.wraps(mapped)
            def every(*args: Any, **kwargs: Any) -> Any:
                result = mapped(*args, **kwargs)
                dims = in_dims if isinstance(in_dims, tuple) else (in_dims,) * len(args)
                first = [_first(arg, dim) for arg, dim in zip(args, dims, strict=True)]
                self._learnt(None, functools.partial(open_call, first, kwargs))
                return result

            return every

        return made

    def _learnt(self, value: torch.Tensor | None, call: Callable[[], torch.Tensor]) -> None:
        """A gradient was taken outside of every transform; without a `value`, that of the call in the open counts."""
        if transforming() or self._paused() or self._record.backwards:
            return
        self._steps += 1
        if value is not None:
            self._loss.add(self._steps, float(value.detach()))
        if not self._pace.samples(self._steps):
            return
        try:
            with torch.random.fork_rng(devices=[]), torch.enable_grad():
                self._look(lambda: self._noted(call(), value))
        except Exception as error:  # what can't be called outside of the transform
            pass_on(error)

    def _noted(self, opened: torch.Tensor, value: torch.Tensor | None) -> torch.Tensor:
        if value is None:
            self._loss.add(self._steps, float(opened.detach()))
        return opened


def _leaves(tree: Any) -> Any:
    """The same numbers as tensors that a graph begins at."""
    return tree_map(lambda one: one.detach().requires_grad_() if is_float(one) else one, tree)


def _first(tree: Any, dim: Any) -> Any:
    """The first of what is mapped over an axis; the same for all parts of it."""
    return tree if dim is None else tree_map(lambda one: one.select(dim, 0), tree)
