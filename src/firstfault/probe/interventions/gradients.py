"""Other gradients: cleared once a step, clipped or not, of the loss with its sign turned."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from firstfault.probe.interventions.hooks import around_steps, before_backward, optimizers_made, replaced
from firstfault.probe.interventions.intervention import Done, intervention


class _Clearing:
    """Clears what optimizers have used, before the next backward pass, where the loop doesn't.

    Gradients of several batches may be accumulated: nothing is cleared before the optimizer has stepped. In a loop that
    steps several optimizers in turn, the pass of one adds to the gradients of the others: so they are cleared after the
    steps of those too, but not where these step more often.
    """

    def __init__(self, done: Done) -> None:
        self._done = done
        self._steps: dict[int, int] = {}
        self._cleared: dict[int, int] = {}  # by the user's own code, as many as the steps that it followed
        self._beside: dict[int, int] = {}  # steps of others since the optimizer's own
        self._most_beside: dict[int, int] = {}
        self._optimizers: dict[int, Any] = {}
        self._due = False

    def made(self, optimizer: Any) -> None:
        """An optimizer is made."""
        key = id(optimizer)
        self._optimizers[key] = optimizer
        self._steps[key] = self._cleared[key] = self._beside[key] = self._most_beside[key] = 0

    def stepped(self, optimizer: Any) -> None:
        """An optimizer has stepped."""
        key = id(optimizer)
        if key not in self._optimizers:
            self.made(optimizer)
        self._steps[key] += 1
        self._most_beside[key] = max(self._most_beside[key], self._beside[key])
        self._beside[key] = 0
        for other in self._beside:
            self._beside[other] += other != key
        self._due = True

    def cleared(self, held: set[int]) -> None:
        """The user's code has cleared these parameters."""
        for key, optimizer in self._optimizers.items():
            if any(id(value) in held for group in optimizer.param_groups for value in group["params"]):
                self._cleared[key] = min(self._cleared[key], self._steps[key]) + 1

    def clear(self) -> None:
        """A backward pass begins."""
        if self._due:
            for key, optimizer in self._optimizers.items():
                if not self._is_cleared_by_user(key) and not self._waits_for_others(key):
                    self._clear(optimizer)
        self._due = False

    def _is_cleared_by_user(self, key: int) -> bool:
        return self._cleared[key] >= max(1, self._steps[key])

    def _waits_for_others(self, key: int) -> bool:
        """Whether others step several times for each of its own: it gathers the gradients of all that time."""
        return self._beside[key] > 0 and max(self._most_beside[key], self._beside[key]) > 1

    def _clear(self, optimizer: Any) -> None:
        values = [value for group in optimizer.param_groups for value in group["params"]]
        if any(value.grad is not None for value in values):
            self._done.note(f"the gradients of {type(optimizer).__name__} cleared in every step", str(id(optimizer)))
        for value in values:
            value.grad = None


@intervention(change="gradients cleared once a step, before backward", undoes=("missing_zero_grad",))
def clear_gradients(done: Done) -> Iterator[None]:
    """A `zero_grad` before the first backward pass of a step."""
    clearing = _Clearing(done)

    def by_optimizer(zero_grad: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        clearing.cleared({id(value) for group in args[0].param_groups for value in group["params"]})
        return zero_grad(*args, **kwargs)

    def by_model(zero_grad: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        clearing.cleared({id(value) for value in args[0].parameters()})
        return zero_grad(*args, **kwargs)

    def begins(loss: Any) -> Any:
        clearing.clear()
        return loss

    with contextlib.ExitStack() as stack:
        stack.enter_context(optimizers_made(clearing.made))
        stack.enter_context(replaced(torch.optim.Optimizer, "zero_grad", by_optimizer))
        stack.enter_context(replaced(nn.Module, "zero_grad", by_model))
        stack.enter_context(around_steps(lambda optimizer: None, clearing.stepped))
        stack.enter_context(before_backward(begins))
        yield


@intervention(change="gradients clipped at norm 1", undoes=("exploding_gradient",))
def clip_at_one(done: Done) -> Iterator[None]:
    """The norm of an optimizer's gradients is at most 1."""

    def before(optimizer: Any) -> None:
        held = [value for group in optimizer.param_groups for value in group["params"] if value.grad is not None]
        if held and float(torch.nn.utils.clip_grad_norm_(held, 1.0)) > 1.0:
            done.note(f"the gradients of {type(optimizer).__name__} clipped at norm 1", type(optimizer).__name__)

    with around_steps(before):
        yield


@intervention(change="no clipping", undoes=("gradient_clipped_away",))
def no_clipping(done: Done) -> Iterator[None]:
    """Gradients as they are, whatever torch's functions are told to make of them."""

    def norm(clip: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        most = args[1] if len(args) > 1 else kwargs.get("max_norm")
        done.note(f"gradients not clipped at norm {float(most or 0):.3g}", "norm")
        rest = {name: value for name, value in kwargs.items() if name not in ("max_norm", "parameters")}
        return clip(args[0] if args else kwargs["parameters"], float("inf"), *args[2:], **rest)

    def value(clip: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        done.note("gradients not clipped by value", "value")

    with contextlib.ExitStack() as stack:
        for owner in (torch.nn.utils, torch.nn.utils.clip_grad):
            stack.enter_context(replaced(owner, "clip_grad_norm_", norm))
            stack.enter_context(replaced(owner, "clip_grad_value_", value))
        yield


@intervention(change="the loss minimised", undoes=("flipped_loss_sign",), keeps_loss=False)
def minimised(done: Done) -> Iterator[None]:
    """The sign of what is learnt from is turned; an optimizer that is told to maximise minimises."""
    maximisers: set[int] = set()

    def made(optimizer: Any) -> None:
        for group in optimizer.param_groups:
            if group.get("maximize"):
                maximisers.add(id(optimizer))
                group["maximize"] = False
                done.note(f"{type(optimizer).__name__} minimises", type(optimizer).__name__)

    def turned(loss: Any) -> Any:
        if maximisers or not isinstance(loss, torch.Tensor):
            return loss
        done.note("the sign of the loss turned", "loss")
        return -loss

    with optimizers_made(made), before_backward(turned):
        yield
