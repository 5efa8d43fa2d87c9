"""What gradients were before a loop clipped them: clipping comes before the step in which norms are taken."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import utils
from torch.nn.utils import clip_grad

from firstfault.training.patching import replace

CLIPS = "_clip_grads_with_norm_"  # what clip_grad_norm_ calls, by whatever name a script knows it; from torch 2.6 on


class ClippedGradients:
    """Knows by how much the gradients at hand were made smaller; `wanted` says when to listen."""

    def __init__(self, wanted: Callable[[], bool]) -> None:
        self._wanted = wanted
        self._clipped: dict[int, tuple[torch.Tensor, float]] = {}  # by parameter: its group's norm, what it may be

    def patches(self) -> list[Callable[[], None]]:
        """Begin to listen; gives what ends it."""
        owners = (utils, clip_grad)
        by_value = [replace(owner, "clip_grad_value_", self._around_values) for owner in owners]
        if hasattr(clip_grad, CLIPS):
            return [*by_value, replace(clip_grad, CLIPS, self._around_clips)]
        return [*by_value, *(replace(owner, "clip_grad_norm_", self._around_norm) for owner in owners)]

    def _around_values(self, clip: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(clip)
        def observed(parameters: Any, *args: Any, **kwargs: Any) -> Any:
            if not self._wanted():
                return clip(parameters, *args, **kwargs)
            parameters = [parameters] if isinstance(parameters, torch.Tensor) else list(parameters)
            before = _norm(parameters)
            result = clip(parameters, *args, **kwargs)
            self._note(parameters, _norm(parameters), before)
            return result

        return observed

    def _around_clips(self, clip: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(clip)
        def observed(parameters: Any, max_norm: float, total_norm: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            parameters = [parameters] if isinstance(parameters, torch.Tensor) else list(parameters)
            result = clip(parameters, max_norm, total_norm, *args, **kwargs)
            self._note(parameters, max_norm, total_norm)
            return result

        return observed

    def _around_norm(self, clip: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(clip)
        def observed(parameters: Any, max_norm: float, *args: Any, **kwargs: Any) -> Any:
            parameters = [parameters] if isinstance(parameters, torch.Tensor) else list(parameters)
            total = clip(parameters, max_norm, *args, **kwargs)
            self._note(parameters, max_norm, total)
            return total

        return observed

    def _note(self, parameters: Sequence[torch.Tensor], max_norm: Any, total: torch.Tensor) -> None:
        if self._wanted():
            self._clipped.update(dict.fromkeys(map(id, parameters), (total.detach(), float(max_norm))))

    def factors(self, values: Sequence[torch.Tensor]) -> list[float]:
        """By how much the gradient of each parameter was larger than what the step is given.

        1 where it was not clipped, or is gone.
        """
        clipped = [self._clipped.pop(id(value), None) for value in values]
        totals = {id(each[0]): float(each[0]) for each in clipped if each is not None}
        return [_factor(totals[id(each[0])], each[1]) if each is not None else 1.0 for each in clipped]

    def forget(self) -> None:
        """Forget what was clipped for a step that did not come."""
        self._clipped = {}


def _norm(parameters: Sequence[torch.Tensor]) -> torch.Tensor:
    """The norm of all gradients."""
    norms = [value.grad.detach().norm() for value in parameters if value.grad is not None]
    return torch.stack(norms).norm() if norms else torch.zeros(())


def _factor(total: float, most: float) -> float:
    return total / most if most > 0 and math.isfinite(total) and total > most else 1.0
