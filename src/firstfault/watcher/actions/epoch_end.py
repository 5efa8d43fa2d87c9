"""When an epoch of a watched loop ends: a pass over a torch DataLoader in which the model learnt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.utils.data import dataloader

from firstfault.training.patching import replace


class Passes:
    """Calls `ended()` at the end of every pass in which `steps()` grew.

    Passes without gradients are those of validation.
    """

    def __init__(self, steps: Callable[[], int], ended: Callable[[], None]) -> None:
        self._steps, self._ended = steps, ended
        self._began: WeakKeyDictionary[Any, int] = WeakKeyDictionary()

    def patch(self) -> Callable[[], None]:
        """Begin to look on; gives what ends it."""
        return replace(dataloader._BaseDataLoaderIter, "__next__", self._around_next)

    def _around_next(self, following: Callable[..., Any]) -> Callable[..., Any]:
        def observed(iterator: Any) -> Any:
            began = self._began.setdefault(iterator, self._steps())
            try:
                return following(iterator)
            except StopIteration:
                self._began[iterator] = self._steps()  # persistent workers use an iterator again
                if torch.is_grad_enabled() and self._steps() > began:
                    self._ended()
                raise

        return observed
