"""Following a training in the place of the probe, and ending it from within."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from firstfault.training.patching import replace
from firstfault.training.recipe import Recipe


class Enough(BaseException):
    """Ends a run from within the user's loop; no Exception, so that the loop does not take it for its own."""


class Follower:
    """Stands where a probe does in `loop.train`, and keeps nothing: a subclass keeps what it is for."""

    record: None = None
    split: str | None = None

    @contextlib.contextmanager
    def observe(self, model: nn.Module, recipe: Recipe | None = None) -> Iterator[None]:
        """Follow a fresh model through its training."""
        yield

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """The evaluation after a pass."""
        yield

    def end_epoch(self, epoch: Any) -> None:  # loop.Epoch, which a follower is handed by the loop
        """What an evaluation came to."""


@contextlib.contextmanager
def hooked(
    handles: Sequence[RemovableHandle], backward: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> Iterator[None]:
    """Torch's backward pass as `backward` makes it of its own.

    At the end of the block it is back, and the hooks are removed.
    """
    take_back = replace(torch.autograd, "backward", backward)
    try:
        yield
    finally:
        take_back()
        for handle in handles:
            handle.remove()
