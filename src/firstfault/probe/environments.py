"""What an environment of a loop that acts gives as rewards: heard at the `step` and `reset` of its class."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from firstfault.probe.credit import Credit
from firstfault.probe.record import Record


class Environment:
    """Listens to the `step` and `reset` of one class of environments, of one or of many at once."""

    def __init__(self, record: Record, name: str, paused: Callable[[], bool], credit: Credit) -> None:
        self._record, self._name, self._paused, self._credit = record, name, paused, credit
        self._open = 0
        self.steps = 0
        self._total: Any = 0.0
        self._since = 0
        self._episodic = self._ends = False

    def around_step(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Hear the reward of each step; one environment may call others of its class."""

        @functools.wraps(step)
        def observed(*args: Any, **kwargs: Any) -> Any:
            self._open += 1
            try:
                result = step(*args, **kwargs)
            finally:
                self._open -= 1
            if not self._open and not self._paused():
                self._stepped(result)
            return result

        return observed

    def around_reset(self, reset: Callable[..., Any]) -> Callable[..., Any]:
        """An episode ends where the next one begins."""

        @functools.wraps(reset)
        def observed(*args: Any, **kwargs: Any) -> Any:
            if self._open:
                self._ends = True  # with the step that is being made
            else:
                self._end()
            return reset(*args, **kwargs)

        return observed

    def updated(self) -> None:
        """The loop learns: where no episode ever ends, what was gained since the last time counts, by step."""
        if not self._episodic and self._since:
            self._add(self._total / self._since)
            self._total, self._since = 0.0, 0

    def _stepped(self, result: Any) -> None:
        found = _reward_and_rest(result)
        if found is None:
            return
        reward, rest = found
        self.steps += 1
        self._since += 1
        self._total = self._total + reward
        over = _over(rest, np.shape(reward))
        self._credit.rewarded(reward, over | self._ends)
        if over.any():
            for value in np.broadcast_to(self._total, over.shape)[over]:
                self._add(value)
            self._total, self._episodic = np.where(over, 0.0, self._total), True
            self._since *= not over.all()
        if self._ends:
            self._end()

    def _end(self) -> None:
        """An environment is reset: of many at once, only where none told the end of its own."""
        if self._since and not (np.ndim(self._total) and self._episodic):
            self._add(self._total)
            self._episodic = True
        self._total, self._since, self._ends = 0.0, 0, False

    def _add(self, value: Any) -> None:
        self._record.reward_of = f"{self._name}.step"
        self._record.rewards.add(self._record.steps, float(np.mean(value)))


def is_environment(kind: type) -> bool:
    """Whether a class has the `step` and `reset` of an environment, and is nothing of torch's or a module's."""
    if issubclass(kind, type | ModuleType | nn.Module | Optimizer) or kind.__module__.startswith("torch."):
        return False
    return all(inspect.isroutine(getattr(kind, name, None)) for name in ("step", "reset"))


def _reward_and_rest(result: Any) -> tuple[Any, tuple[Any, ...]] | None:
    """The reward that a step gave, and what stands after it: the second of several, but where that says yes or no."""
    if not isinstance(result, tuple):
        reward = number_of(getattr(result, "reward", result))
        return None if reward is None else (reward, ())
    for place in (1, 0):
        if len(result) > place and (reward := number_of(result[place])) is not None:
            return reward, result[place + 1 :]
    return None


def number_of(value: Any) -> Any:
    """A number, or an array of such; None for anything else, and for yes and no."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy() if not value.requires_grad else None
    if isinstance(value, bool | str) or value is None:
        return None
    try:
        values = np.asarray(value)
    except (ValueError, TypeError):
        return None
    return values.astype(float) if values.dtype.kind in "iuf" and values.ndim <= 2 and values.size else None


def _over(rest: tuple[Any, ...], shape: tuple[int, ...]) -> Any:
    """Which of the environments are at an end, by what stands after the reward."""
    over = np.zeros(shape, bool)
    for value in rest:
        flags = np.asarray(value.cpu() if isinstance(value, torch.Tensor) else value)
        if flags.dtype == bool and flags.shape == shape:
            over = over | flags
    return over
