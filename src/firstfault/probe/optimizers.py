"""The optimizers of a loop: what they hold, and which of their steps are whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from firstfault.probe.models import Models
from firstfault.probe.record import Record


class Optimizers:
    """Knows the parameters of every optimizer that made a step, and tells a step from the steps that it calls itself.

    The steps of the first optimizer count the rounds of a loop with several.
    """

    def __init__(self, record: Record, models: Models) -> None:
        self._record, self._models = record, models
        self._held: dict[int, list[Any]] = {}
        self._open: dict[int, list[int]] = {}           # those in their step: backward passes before it, steps nested in it
        self._first: int | None = None

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

    def is_new(self, optimizer: Any) -> bool:
        """Whether an optimizer was not met yet."""
        return id(optimizer) not in self._held

    def meet(self, optimizer: Any) -> None:
        """Learn the parameters of an optimizer, and name those that no model has."""
        self._models.look()
        name, record = type(optimizer).__name__, self._record
        values = [value for group in optimizer.param_groups for value in group["params"]]
        self._models.adopt(values, name)
        self._held[id(optimizer)] = sorted(values, key=lambda value: value.numel())
        record.device = values[0].device.type if values else record.device
        if name not in record.optimizers:
            record.optimizers.append(name)
        record.weight_decay = max(record.weight_decay, max(float(group.get("weight_decay") or 0.0) for group in optimizer.param_groups))

    def parameters(self, optimizer: Any) -> list[torch.Tensor]:
        """Those of an optimizer, small ones first."""
        return self._held[id(optimizer)]

    def held(self) -> set[int]:
        """Ids of all parameters that an optimizer holds."""
        return {id(value) for values in self._held.values() for value in values}


def with_closure(args: Any, kwargs: Any, after: Callable[[], None]) -> tuple[Any, Any] | None:
    """The arguments of a step with a closure that calls `after` at its end, as in every step of Lightning; None where there is no closure."""
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
