"""Whether an optimizer or somebody else made a weight what it is."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import torch

VERSION = attrgetter("_version")
KNOWN = ("SGD", "Adam", "AdamW", "NAdam", "RAdam", "Adamax", "RMSprop", "Adagrad", "Adadelta")


class Updates:
    """The version of every weight after the last step of its optimizer."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[Any, int, list[Any], list[int]]] = {}

    def made(self, optimizer: Any, step: int, values: list[Any]) -> None:
        """Note that an optimizer has just made its step."""
        self._last[id(optimizer)] = optimizer, step, values, list(map(VERSION, values))

    def step_of(self, weight: torch.Tensor) -> int | None:
        """The step that made a weight non-finite; None where it was written by something else than an optimizer."""
        for optimizer, step, values, versions in self._last.values():
            for value, version in zip(values, versions, strict=True):
                if value is weight:
                    return step if weight._version == version and _makes(optimizer, weight) else None
        return None


def keeps_gradients(optimizer: Any) -> bool:
    """Whether what an optimizer keeps shows later on that a gradient was not finite."""
    return type(optimizer).__name__ != "SGD" or all(group["momentum"] for group in optimizer.param_groups)


def _makes(optimizer: Any, weight: torch.Tensor) -> bool:
    """Whether an update can have made it: of a finite state it can overflow, and makes NaN only by dividing by zero."""
    group = next(group for group in optimizer.param_groups if any(value is weight for value in group["params"]))
    if type(optimizer).__name__ not in KNOWN or group.get("eps") == 0 or not 0 <= float(group["lr"]) < float("inf"):
        return True
    state = [
        value
        for value in optimizer.state.get(weight, {}).values()
        if isinstance(value, torch.Tensor) and value.shape == weight.shape
    ]
    return bool(weight.isinf().any()) or not all(bool(torch.isfinite(value).all()) for value in state)
