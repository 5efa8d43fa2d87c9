"""What a loop that acts is rewarded with: by the `step` of its environment, else by what it calls its rewards."""

from __future__ import annotations

import contextlib
import functools
import re
import weakref
from collections.abc import Callable
from itertools import islice
from types import CodeType, FrameType
from typing import Any

import numpy as np
import torch
from torch import distributions

from firstfault.probe.code_lines import user_frames
from firstfault.probe.credit import Credit
from firstfault.probe.environments import Environment, is_environment, number_of
from firstfault.probe.record import Record
from firstfault.probe.variables import MOST, locals_of, variables_of
from firstfault.training.patching import replace

LOOKS = 6
"""First calls of models, and first backward passes, at which variables are looked through."""
MOST_ENVIRONMENTS = 3
"""Classes that are listened to: an environment and its wrappers."""
MOST_IN_A_LIST = 10_000
"""Rewards that are summed up: bounds the time where a loop keeps all that it ever had."""
NAMED = re.compile(r"(ep|episode|batch|step|total)?_?(rewards?|rews?|returns?|rets?)", re.IGNORECASE)
"""What a loop calls its rewards; of running means and best ones nobody knows how much of them is new."""
ACTS = (distributions.Categorical, distributions.Normal, distributions.Bernoulli, distributions.MultivariateNormal)


class Rewards:
    """Adds to the record the return of every episode, or the reward between two updates where there are no episodes.

    An environment is an object in a variable of the user's, or in an attribute of its `self`, that has `reset` and
    `step`, and whose `step` gives a reward as gymnasium's does. Its class is listened to, so that others of it count
    too. Else the loop's own variable of that name is read before each backward pass. A loop acts where it draws from a
    distribution, and learns from the probability of what it drew.
    """

    def __init__(self, record: Record, paused: Callable[[], bool]) -> None:
        self._record, self._paused = record, paused
        self._calls = self._passes = 0
        self._undo: list[Callable[[], None]] = []
        self._environments: dict[type, Environment] = {}
        self._looked_at: set[type] = set()
        self._variable: tuple[CodeType, str] | None = None
        self._history: tuple[int, int] | None = None  # the list of rewards that was read last, and its length
        self._drawn: weakref.ref[Any] | None = None
        self._credit = Credit(record.credit)
        self.looks = self.listens = True
        """Whether calls of models are to be told, and backward passes."""

    def patches(self) -> list[Callable[[], None]]:
        """Begin to listen; gives what ends it."""
        actions = [(kind, "sample", self._around_sample) for kind in ACTS]
        probabilities = [(kind, "log_prob", self._around_probability) for kind in ACTS]
        return [replace(*each) for each in (*actions, *probabilities)] + [self._forget]

    def called(self) -> None:
        """A model is about to be called."""
        self._calls += 1
        self.looks = self._calls < LOOKS
        self._find(list(user_frames()))

    def learns(self) -> None:
        """A backward pass begins."""
        if self._passes < LOOKS:
            self._passes += 1
            frames = list(user_frames())
            self._find(frames)
            self._variable = self._variable or _variable_in(frames)
        self._hear_rewards()
        self._credit.learns(self._record.steps)
        found = self._environments or self._variable or self._record.draws
        self.listens = bool(found) or self._passes < LOOKS

    def _hear_rewards(self) -> None:
        if any(environment.steps for environment in self._environments.values()):
            for environment in self._environments.values():
                environment.updated()
        elif self._variable is not None:
            self._read(*self._variable)

    def _forget(self) -> None:
        self._credit.settle(self._record.steps)
        for take_back in reversed(self._undo):
            take_back()

    def _around_sample(self, sample: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(sample)
        def observed(*args: Any, **kwargs: Any) -> Any:
            drawn = sample(*args, **kwargs)
            if isinstance(drawn, torch.Tensor):
                self._drawn = weakref.ref(drawn)
            return drawn

        return observed

    def _around_probability(self, log_prob: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(log_prob)
        def observed(*args: Any, **kwargs: Any) -> Any:
            value = args[1] if len(args) > 1 else kwargs.get("value")
            known = log_prob(*args, **kwargs)
            if value is not None and self._drawn is not None and self._drawn() is value and torch.is_grad_enabled():
                self._record.draws = self.listens = True
                if not self._paused():
                    self._credit.chose(known)
            return known

        return observed

    def _find(self, frames: list[FrameType]) -> None:
        for kind in dict.fromkeys(map(type, variables_of(frames))):
            if kind not in self._looked_at and len(self._environments) < MOST_ENVIRONMENTS:
                self._looked_at.add(kind)
                if is_environment(kind):
                    self._listen(kind)

    def _listen(self, kind: type) -> None:
        self.listens = True
        environment = self._environments[kind] = Environment(self._record, kind.__name__, self._paused, self._credit)
        with contextlib.suppress(AttributeError, TypeError):  # a class that can't be changed
            self._undo.append(replace(kind, "step", environment.around_step))
            self._undo.append(replace(kind, "reset", environment.around_reset))

    def _read(self, code: CodeType, name: str) -> None:
        frame = next((frame for frame in user_frames() if frame.f_code is code), None)
        value = locals_of(frame).get(name) if frame is not None else None
        length = len(value) if isinstance(value, list) else 0
        known, self._history = self._history, (id(value), length)
        if isinstance(value, list) and known is not None and known[0] == id(value) and 0 < known[1] < length:
            value = value[known[1] :]  # a history, whose end is new
        reward = total(value)
        if reward is not None:
            self._credit.told(value, to_go="rew" not in name.lower())
            self._record.reward_of = name
            self._record.rewards.add(self._record.steps, reward)


def total(value: Any) -> float | None:
    """The sum of what a loop calls its rewards: a number, a list of numbers or an array; None for anything else."""
    if isinstance(value, list):
        numbers = [number_of(each) for each in value[-MOST_IN_A_LIST:]]
        if not numbers or any(number is None or np.ndim(number) for number in numbers):
            return None
        return float(np.sum(numbers))
    number = number_of(value)
    return float(np.sum(number)) if number is not None else None


def _variable_in(frames: list[FrameType]) -> tuple[CodeType, str] | None:
    """The variable that holds rewards, and the code that it is a variable of; those named after rewards come first."""
    found = [
        (frame.f_code, name)
        for frame in frames
        for name, value in islice(locals_of(frame).items(), MOST)
        if NAMED.fullmatch(name) and total(value) is not None
    ]
    return min(found, key=lambda known: "rew" not in known[1].lower(), default=None)
