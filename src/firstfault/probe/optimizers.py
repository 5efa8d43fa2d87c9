"""The optimizers of a loop: what they hold, and which of their steps are whole."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

import torch

from firstfault.probe.code_lines import CodeLines
from firstfault.probe.models import Models
from firstfault.probe.record import Record
from firstfault.training.patching import replace

TOGETHER, GONE = 3, 25
"""As the class tells: 25 is five times what a WGAN's critic steps for one step of its generator (Arjovsky 2017)."""


class Optimizers:
    """Knows the parameters of every optimizer that made a step, and tells a step from the steps that it calls itself.

    The steps of the first optimizer count the rounds of a loop with several, until 25 steps of others have gone by
    without it: then a stage has ended, and those of another count. Two that begin within 3 backward passes of each
    other are of one stage.
    """

    def __init__(self, record: Record, models: Models, lines: CodeLines) -> None:
        self._record, self._models, self._lines = record, models, lines
        self._held: dict[int, list[Any]] = {}
        self._open: dict[int, list[int]] = {}  # those in their step: backward passes before it, steps nested in it
        self._first: int | None = None
        self._counting: int | None = None
        self._without = 0
        self._met: dict[int, int] = {}  # backward passes before its first step
        self._idle: set[int] = set()
        self._stepped: dict[int, weakref.ref[Any]] = {}
        self._made: dict[int, Any] = {}  # until their first step: those of a function end with it, and its loop

    def enters(self, optimizer: Any) -> bool:
        """Note the beginning of a step; false where a subclass calls the step that it extends."""
        key, passes = id(optimizer), self._record.backwards
        if key in self._open and self._open[key][0] == passes:
            self._open[key][1] += 1
            return False
        self._open[key] = [passes, 0]
        self._first = key if self._first is None else self._first
        return True

    def leaves(self, optimizer: Any) -> bool:
        """Note the end of a step; false for one within another."""
        key = id(optimizer)
        if key in self._open and self._open[key][1]:
            self._open[key][1] -= 1
            return False
        self._open.pop(key, None)
        return True

    def is_first(self, optimizer: Any) -> bool:
        """Whether its steps count the rounds."""
        return id(optimizer) == self._first

    def ends_round(self, optimizer: Any) -> bool:
        """Whether its step ends a round."""
        key = id(optimizer)
        if key != self._counting:
            self._without += 1
            if self._counting is not None and self._without < GONE:
                return False
            self._counting = key
        self._without = 0
        return True

    def is_new(self, optimizer: Any) -> bool:
        """Whether an optimizer was not met yet."""
        return id(optimizer) not in self._held

    def meet(self, optimizer: Any) -> None:
        """Learn the parameters of an optimizer, and name those that no model has."""
        self._models.look()
        self._note_lines(optimizer)
        self._made.pop(id(optimizer), None)
        self._stepped[id(optimizer)] = weakref.ref(optimizer)
        name, record = type(optimizer).__name__, self._record
        values = [value for group in optimizer.param_groups for value in group["params"]]
        self._models.adopt(values, name)
        self._note_twice(optimizer, values)
        self._held[id(optimizer)] = sorted(values, key=lambda value: value.numel())
        record.device = values[0].device.type if values else record.device
        if name not in record.optimizers:
            record.optimizers.append(name)
        record.maximises |= any(bool(group.get("maximize")) for group in optimizer.param_groups)
        record.weight_decay = max(
            record.weight_decay, max(float(group.get("weight_decay") or 0.0) for group in optimizer.param_groups)
        )

    def _note_lines(self, optimizer: Any) -> None:
        self._lines.note("optimizer", made=self._lines.maker(optimizer))
        self._lines.note("step", optimizer)

    def _note_twice(self, optimizer: Any, values: list[Any]) -> None:
        """Note an optimizer that was given what another of its stage holds already."""
        if id(optimizer) in self._met:
            return
        self._met[id(optimizer)] = self._record.backwards
        beside = {
            key
            for key, passes in self._met.items()
            if key in self._held and self._record.backwards - passes <= TOGETHER
        }
        theirs = {id(value) for key in beside for value in self._held[key]}
        self._record.misdirected += bool(values) and all(id(value) in theirs for value in values)

    def look(self, optimizer: Any) -> None:
        """Note an optimizer that steps while none of its parameters has a gradient."""
        if id(optimizer) not in self._idle and all(value.grad is None for value in self._held[id(optimizer)]):
            self._idle.add(id(optimizer))
            self._record.misdirected += 1

    def patch(self) -> Callable[[], None]:
        """Listen to groups that are added, as where layers are thawed or made late: an optimizer is met anew in its
        next step.
        """
        return replace(torch.optim.Optimizer, "add_param_group", self._around_adding)

    def _around_adding(self, add: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(add)
        def observed(optimizer: Any, *args: Any, **kwargs: Any) -> Any:
            result = add(optimizer, *args, **kwargs)
            self._held.pop(id(optimizer), None)
            if id(optimizer) not in self._made and not self._has_stepped(optimizer):
                self._made[id(optimizer)] = optimizer
                self._lines.remember(optimizer)
            return result

        return observed

    def _has_stepped(self, optimizer: Any) -> bool:
        known = self._stepped.get(id(optimizer))
        return known is not None and known() is optimizer

    def note_never_stepped(self) -> None:
        """Note the optimizers that were made for what gets gradients and no other one holds, and never stepped."""
        held = self.held()
        for optimizer in self._made.values():
            values = [value for group in optimizer.param_groups for value in group["params"] if id(value) not in held]
            names = [self._models.names[id(value)] for value in values if id(value) in self._models.names]
            waiting = [name for name in names if self._record.had_gradient.get(name)]
            if waiting:
                line = self._lines.maker(optimizer)
                row = {"optimizer": type(optimizer).__name__, "line": line, "parameters": waiting}
                self._record.never_stepped.append(row)

    def parameters(self, optimizer: Any) -> list[torch.Tensor]:
        """Those of an optimizer, small ones first."""
        return self._held[id(optimizer)]

    def held(self) -> set[int]:
        """Ids of all parameters that an optimizer holds."""
        return {id(value) for values in self._held.values() for value in values}


def with_closure(args: Any, kwargs: Any, after: Callable[[], None]) -> tuple[Any, Any] | None:
    """The arguments of a step with a closure that calls `after` at its end, as in every step of Lightning.

    None where there is no closure.
    """
    closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
    if closure is None:
        return None

    def observed() -> Any:
        loss = closure()
        after()
        return loss

    return (args, {**kwargs, "closure": observed}) if "closure" in kwargs else ((args[0], observed, *args[2:]), kwargs)


def is_skipped(optimizer: Any) -> bool:
    """Whether a gradient scaler has told a fused optimizer to change nothing in this step."""
    found = getattr(optimizer, "found_inf", None)
    return found is not None and bool(found)
