"""The first steps of a training, run once more: what its backward passes give, and what its optimizer gets."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.optim import optimizer as optimizers

from firstfault.errors import Missing, UserCodeError
from firstfault.subject.memo import memo
from firstfault.subject.rerun import fixed_seeds
from firstfault.subject.subject import Subject
from firstfault.training.batches import loader
from firstfault.training.loop import train
from firstfault.training.observer import Enough, Follower, hooked
from firstfault.training.recipe import Recipe, Tensors

STEPS = 3  # that something holds in each of several steps is no accident of the first
ROWS = 16  # given once and twice: 32 rows are a batch that any loop takes


@dataclass
class FirstSteps:
    """A few steps of a loop.

    losses: the loss of each. raw: the norm of all gradients after backward. used: the norm of those that the optimizer
    is given. maximised: whether an optimizer maximises.
    """

    losses: list[float] = field(default_factory=list)
    raw: list[float] = field(default_factory=list)
    used: list[float] = field(default_factory=list)
    maximised: bool = False

    @property
    def finite(self) -> bool:
        """Whether losses and gradients are."""
        return all(map(math.isfinite, [*self.losses, *self.used]))


@memo(of="model")
def first_steps(subject: Subject) -> FirstSteps | None:
    """The first 3 steps of the user's own loop with the target's seed, run once; None where it can't be run."""
    return follow(subject.recipe, subject.seed, STEPS)


def summed_in_fit(subject: Subject) -> float | None:
    """The first loss of the user's own loop on 16 rows given twice, over that on them given once; None without one."""
    recipe = subject.recipe
    rows = recipe.train.rows(slice(ROWS))
    once, twice = (
        _first_loss(recipe, Tensors(*(torch.cat([part] * times) for part in (rows.x, rows.y))), subject.seed)
        for times in (1, 2)
    )
    return twice / once if once and twice and once == once and twice == twice else None


def _first_loss(recipe: Recipe, rows: Tensors, seed: int) -> float | None:
    def load(x: torch.Tensor, y: torch.Tensor, split: str) -> Any:
        return loader(rows if split == "train" else Tensors(x, y), len(rows), False, seed)

    found = follow(recipe.with_training(loader=load, batch_size=len(rows)), seed, 1)
    return found.losses[0] if found is not None and found.losses else None


def follow(recipe: Recipe, seed: int, steps: int, rate: float = 1.0) -> FirstSteps | None:
    """Run the first steps of a training, at `rate` times its learning rates; None where it raises before the first."""
    follower = _Follower(steps, rate)
    with warnings.catch_warnings(), fixed_seeds(seed):
        warnings.simplefilter("ignore")
        with contextlib.suppress(Enough, Missing, UserCodeError):
            train(recipe, seed, probe=follower)
    return follower.seen if follower.seen.losses else None


class _Follower(Follower):
    """Keeps losses and gradients, and ends the training after some steps."""

    def __init__(self, most: int, rate: float) -> None:
        self.seen, self.most, self.rate = FirstSteps(), most, rate
        self._slowed: list[Any] = []
        self._values: list[nn.Parameter] = []
        self._loss = self._raw = float("nan")

    @contextlib.contextmanager
    def observe(self, model: nn.Module, recipe: Recipe | None = None) -> Iterator[None]:
        """Follow a fresh model through its training."""
        handles = [
            optimizers.register_optimizer_step_pre_hook(self._given),
            optimizers.register_optimizer_step_post_hook(self._stepped),
        ]

        def around(backward: Callable[..., Any]) -> Callable[..., Any]:
            def followed(tensors: Any, *args: Any, **kwargs: Any) -> Any:
                result = backward(tensors, *args, **kwargs)
                loss = tensors if isinstance(tensors, torch.Tensor) else tensors[0]
                self._loss, self._raw = float(loss.detach().mean()), _norm(model.parameters())
                return result

            return followed

        with hooked(handles, around):
            yield

    def _given(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if self.rate != 1 and not any(optimizer is known for known in self._slowed):
            self._slowed.append(optimizer)
            for group in optimizer.param_groups:
                group["lr"] *= self.rate
        self.seen.maximised |= any(bool(group.get("maximize")) for group in optimizer.param_groups)
        self.seen.used.append(_norm(value for group in optimizer.param_groups for value in group["params"]))

    def _stepped(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self.seen.losses.append(self._loss)
        self.seen.raw.append(self._raw)
        if len(self.seen.losses) >= self.most:
            raise Enough


def _norm(values: Any) -> float:
    """The L2 norm of all gradients."""
    grads = [value.grad.detach() for value in values if value.grad is not None and not value.grad.is_sparse]
    return float(torch.stack(torch._foreach_norm(grads)).float().norm()) if grads else 0.0
