"""Finds the models of a loop by the calls of their modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as modules

from firstfault.probe.record import Record
from firstfault.probe.transform_guard import transforming


class Finder:
    """While it searches, every outermost call of a module with parameters is told to `meet`, and losses are noted by
    name.

    Args:
        meet: called as `meet(module)`; true where the model is new.
        entered: called as `entered(module, args, kwargs)` for a model that has just been met, whose own hooks come too
        late for this call.
    """

    def __init__(
        self,
        record: Record,
        paused: Callable[[], bool],
        meet: Callable[[nn.Module], bool],
        entered: Callable[[nn.Module, Any, Any], None],
    ) -> None:
        self._record, self._paused, self._meet, self._called = record, paused, meet, entered
        self._handles: list[Any] = []
        self._depth = 0

    def begin(self) -> None:
        """Look at every call of a module."""
        if not self._handles:
            self._depth = 0
            self._handles = [
                modules.register_module_forward_pre_hook(self._entered),
                modules.register_module_forward_hook(self._left, always_call=True),
            ]

    def end(self) -> None:
        """Look at none."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _entered(self, module: nn.Module, inputs: Any) -> None:
        if torch.compiler.is_compiling():
            return
        if self._depth == 0 and not self._paused() and not transforming():
            if isinstance(module, nn.modules.loss._Loss):
                name = type(module).__name__
                if name not in self._record.losses:
                    self._record.losses.append(name)
            elif any(True for _ in module.parameters()) and self._meet(module):
                self._called(module, inputs, {})
        self._depth += 1

    def _left(self, module: nn.Module, inputs: Any, outputs: Any) -> None:
        if torch.compiler.is_compiling():
            return
        self._depth = max(0, self._depth - 1)
