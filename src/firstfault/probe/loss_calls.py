"""The calls of torch's loss functions: what the last one learnt from, and what validation came to."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from firstfault.probe.captured_loss import LOSSES
from firstfault.probe.code_lines import CodeLines
from firstfault.probe.constant_answers import ConstantAnswers
from firstfault.probe.loss_inputs import LossInputs
from firstfault.probe.nonfinite_origin import LossCall
from firstfault.probe.record import Record
from firstfault.probe.transform_guard import transforming
from firstfault.training.patching import replace


class LossCalls:
    """Listens to the loss functions of torch; `paused` says when not to."""

    def __init__(self, record: Record, paused: Callable[[], bool], lines: CodeLines) -> None:
        self._record, self._paused, self._lines = record, paused, lines
        self._last: tuple[str, Any, Any] | None = None
        self._sum: torch.Tensor | None = None
        self._count = 0
        self.sampling = False
        self._constants = ConstantAnswers()
        self._inputs = LossInputs(record)

    def patches(self) -> list[Callable[[], None]]:
        """Begin to listen."""
        return [replace(functional, name, functools.partial(self._around, name)) for name in LOSSES]

    def _around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def observed(*args: Any, **kwargs: Any) -> Any:
            value = function(*args, **kwargs)
            if not torch.compiler.is_compiling() and not self._paused() and not transforming():
                if torch.is_grad_enabled():
                    self._lines.lost()
                    if name not in self._record.losses:
                        self._record.losses.append(name)
                    outputs, target = (
                        args[0] if args else kwargs.get("input"),
                        args[1] if len(args) > 1 else kwargs.get("target"),
                    )
                    self._last = name, _weak(outputs), _weak(target)
                    self._inputs.called(name, outputs, target)
                    if self.sampling:
                        self._constants.saw(name, target, value, kwargs)
                        self._inputs.sampled(name, outputs, target, value)
                elif isinstance(value, torch.Tensor):
                    self._sum = value.detach().mean() + (self._sum if self._sum is not None else 0.0)
                    self._count += 1
            return value

        return observed

    def learnt(self, loss: torch.Tensor) -> None:
        """A backward pass begins with this loss."""
        if self.sampling:
            self._inputs.learnt(loss)

    def last(self) -> LossCall | None:
        """The last call that was to be learnt from."""
        if self._last is None:
            return None
        name, outputs, target = self._last
        return LossCall(name, outputs and outputs(), target and target())

    def close_validation(self, step: int) -> None:
        """Put the mean of the losses without gradients since the last step into the record."""
        if self._count:
            self._record.validation_loss.add(step, float(self._sum or 0.0) / self._count)
            self._sum, self._count = None, 0

    def note_constants(self) -> None:
        """Put what constant answers would have cost at the end into the record."""
        self._record.constants = self._constants.judged()


def _weak(value: Any) -> Any:
    return weakref.ref(value) if isinstance(value, torch.Tensor) else None
