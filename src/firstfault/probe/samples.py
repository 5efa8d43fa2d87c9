"""A few hundred values of every gradient, weight and activation of a step, for histograms."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from firstfault.errors import told

MOST = 512
"""Values of a tensor: some 17 to each part of a histogram."""
BUCKETS = 30
"""Parts of a histogram: TensorBoard's own default."""
GROWTH = 1.1
"""What is large is taken when the steps have grown by a tenth: some 90 times in 10,000 steps, 140 in a million."""


class Spacing:
    """Names steps of which each is a tenth further than the one before."""

    def __init__(self) -> None:
        self._due = 0.0

    def reached(self, step: int) -> bool:
        """Whether the next such step is reached; if so, the one after it is waited for."""
        if step < self._due:
            return False
        self._due = GROWTH * step
        return True


class Samples:
    """Takes values where `on`, at most 512 of a tensor, and hands them over once a step.

    `failed` says why it gave up.
    """

    def __init__(self) -> None:
        self.on = True
        self.failed = ""
        self._held: dict[str, torch.Tensor] = {}
        self._last = 0
        self._due = 0.0

    def take(self, kind: str, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Copy values of named tensors; the last copy under a name counts."""
        if not self.on or self.failed:
            return
        try:
            self._held |= {f"{kind}/{name}": _some(value) for name, value in tensors}
        except Exception as error:
            self.failed = told(error)

    def pull(self, step: int) -> dict[str, np.ndarray[Any, Any]]:
        """What was taken since the last call, in one transfer.

        From it on, it is `on` where the next sampled step will be due.
        """
        held, self._held = self._held, {}
        if held:
            self._due = GROWTH * step
        self.on = 2 * step - self._last >= self._due
        self._last = step
        if not held:
            return {}
        device = next(iter(held.values())).device
        values = torch.cat([value.to(device) for value in held.values()]).cpu().numpy()
        ends = np.cumsum([len(value) for value in held.values()])[:-1]
        return dict(zip(held, np.split(values, ends), strict=True))


def _some(value: torch.Tensor) -> torch.Tensor:
    value = value.detach()
    value = value.coalesce().values() if value.is_sparse else value
    value = torch.view_as_real(value.resolve_conj()) if value.is_complex() else value
    return value.reshape(-1)[:: stride(value.numel(), MOST)].to(torch.float32, copy=True)


def stride(size: int, most: int) -> int:
    """The smallest stride that leaves at most `most` of `size` values, and shares no factor with `size`.

    A stride that divides the width of a layer would see the same units of every row, and no others.
    """
    step = max(1, -(-size // most))
    while math.gcd(step, size) > 1:
        step += 1
    return step
