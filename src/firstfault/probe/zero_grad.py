"""Whether a loop clears its gradients between two steps."""

from __future__ import annotations

from collections.abc import Sequence

import torch

FEWEST = 3
"""Of an optimizer: two steps are one pair, of which a share is all or nothing."""


MOST_PASSES = 12
"""Backward passes after which gradients are looked for: three steps of an accumulation over four."""


class Clearing:
    """Remembers for each optimizer a parameter with a gradient, and sees whether it is still there at the next backward
    pass.
    """

    def __init__(self) -> None:
        self._held: dict[int, torch.Tensor] = {}  # by optimizer, the parameter that is looked at
        # by optimizer, where its last step has used it and nobody has cleared it since
        self._used: dict[int, torch.Tensor] = {}
        self._added: set[int] = set()  # by optimizer, where a backward pass has added to what was not cleared
        self._counts: dict[int, tuple[int, int]] = {}  # by optimizer, its steps and the stale ones
        self._values: dict[int, Sequence[torch.Tensor]] = {}  # by optimizer, of which a first step was seen
        self._filled: set[int] = set()  # by optimizer, where a backward pass gave gradients
        self._passes = 0
        self.emptied = 0

    def before_backward(self) -> None:
        """Forget the gradients that were cleared since the steps that used them."""
        if self._used:
            self._used = {key: value for key, value in self._used.items() if _has_gradient(value)}
            self._added = set(self._used)

    def after_backward(self) -> None:
        """Note which optimizers have gradients to use, in the first passes: what becomes of them is always the same."""
        self._passes += 1
        if self._passes <= MOST_PASSES:
            self._filled |= {key for key, values in self._values.items() if any(map(_has_gradient, values))}

    def before_step(self, key: int, values: Sequence[torch.Tensor]) -> None:
        """An optimizer is about to step: what a backward pass gave it may be gone."""
        if key in self._filled:
            self.emptied += not any(map(_has_gradient, values))
            self._filled.discard(key)
        if self._passes <= MOST_PASSES:
            self._values[key] = values

    def stepped(self, key: int, values: Sequence[torch.Tensor]) -> bool:
        """Note a step with these parameters, small ones first.

        Whether it used the gradients of the step before once more.
        """
        stale = key in self._added  # without a backward pass in between, gradients were put there, and not added
        self._added.discard(key)
        steps, before = self._counts.get(key, (0, 0))
        self._counts[key] = steps + 1, before + stale
        held = self._held.get(key)
        if held is None or held.grad is None:
            held = next((value for value in values if _has_gradient(value)), None)
        if held is None:
            self._held.pop(key, None)
            self._used.pop(key, None)
        else:
            self._held[key] = self._used[key] = held
        return stale

    def worst(self) -> float:
        """The largest share of stale steps, of an optimizer with at least 3."""
        return max((stale / (steps - 1) for steps, stale in self._counts.values() if steps >= FEWEST), default=0.0)


def _has_gradient(value: torch.Tensor) -> bool:
    grad = value.grad
    return grad is not None and bool(grad._nnz() if grad.is_sparse else grad.any())
