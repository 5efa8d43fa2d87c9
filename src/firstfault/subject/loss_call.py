"""What the target's loss is really given: seen at its first call, in `training.loss` or in the user's own loop."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from firstfault.finding import Layer
from firstfault.runs import guard
from firstfault.seeds import same_random_state
from firstfault.subject.memo import memo
from firstfault.subject.model_inputs import sound_batch, sound_outputs
from firstfault.subject.subject import Subject
from firstfault.training.losses import ELEMENTWISE, LOSSES
from firstfault.training.observer import Enough
from firstfault.training.recipe import Tensors, outputs_of
from firstfault.training.torch_calls import name_of


@dataclass(frozen=True)
class LossCall:
    """The first call of a known loss function of torch: its name, its input and target.

    `direct` tells that the input is what the model returned, and nothing was done to it in between.
    `spread` holds two shapes `(N, 1)` and `(N,)` that were broadcast to N × N, `error` what the loss raised;
    `broken` tells that the user's loop raised before the loss was seen.
    """

    name: str | None
    input: torch.Tensor | None
    target: torch.Tensor | None
    direct: bool
    spread: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    error: Exception | None = None
    broken: bool = False


class _Spy(TorchFunctionMode):
    def __init__(self, stop: bool) -> None:
        super().__init__()
        self.stop = stop
        self.name: str | None = None
        self.input: torch.Tensor | None = None
        self.target: torch.Tensor | None = None
        self.spread: tuple[tuple[int, ...], tuple[int, ...]] | None = None
        self.awake = not stop

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = name_of(func)
        if self.awake and self.name is None:
            self._note(name, args, kwargs)
        if self.stop and self.name is not None:
            raise Enough
        result = func(*args, **kwargs)
        if self.awake and self.name is None and name in ("sub", "rsub"):
            self.spread = self.spread or broadcast(args[0], args[1])
        return result

    def _note(self, name: str, args: Any, kwargs: Any) -> None:
        if name not in LOSSES:
            return
        given = [*args[:2], *(kwargs[key] for key in ("input", "target") if key in kwargs)]
        if len(given) == 2 and all(isinstance(value, torch.Tensor) for value in given):
            self.name, self.input, self.target = name, given[0].detach(), given[1].detach()
            if name in ELEMENTWISE:
                self.spread = self.spread or broadcast(*given)


def broadcast(first: Any, second: Any) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """The two shapes when one is `(N, 1)` and the other `(N,)`, so that their difference is N × N."""
    if not (isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor)):
        return None
    shapes = tuple(first.shape), tuple(second.shape)
    flat, tall = sorted(shapes, key=len)
    return shapes if len(flat) == 1 and flat[0] > 1 and tall == (flat[0], 1) else None


@memo(of="model")
def loss_call(subject: Subject) -> LossCall:
    """The first call of the loss on the untrained model; built once. `name` is None when it is unknown."""
    own = subject.recipe.training.fit is not None
    return _in_fit(subject) if own else loss_on(subject, sound_outputs(subject))


def loss_on(subject: Subject, outputs: torch.Tensor) -> LossCall:
    """The call of `training.loss` on some outputs `(N, …)` and labels of the sound batch."""
    y = sound_batch(subject).y[: len(outputs)]
    spy, error = _Spy(stop=False), None
    with torch.no_grad(), spy:
        try:
            subject.recipe.loss(outputs, y)
        except Exception as raised:
            error = raised
    return _call(spy, outputs, error)


def _call(spy: _Spy, outputs: torch.Tensor | None, error: Exception | None = None) -> LossCall:
    direct = (
        spy.input is not None
        and outputs is not None
        and spy.input.numel() == outputs.numel()
        and torch.equal(spy.input.flatten(), outputs.detach().flatten())
    )
    return LossCall(spy.name, spy.input, spy.target, direct, spy.spread, error)


def _in_fit(subject: Subject) -> LossCall:
    """Run the user's loop on a model of its own until it calls a loss, or calls the model a second time."""
    from firstfault.training.batches import loader

    recipe = subject.recipe
    outputs: list[Any] = []
    batch = sound_batch(subject)
    with isolated(), quiet():
        model = recipe.build(subject.seed)
        spy = _Spy(stop=True)

        def seen(module: nn.Module, inputs: Any, result: Any) -> None:
            if outputs:
                raise Enough
            outputs.append(outputs_of(result).detach())
            spy.awake = True

        model.register_forward_hook(seen)
        rows = Tensors(recipe.inputs_for(model, batch.x), batch.y)
        batches = loader(rows, recipe.training.batch_size, False, subject.seed)
        broken = False
        try:
            assert recipe.training.fit is not None
            with spy, guard.doing(Layer.TRAINING.value):
                recipe.training.fit(model, batches, batches)
        except Enough:
            pass
        except Exception:
            broken = True
    return replace(_call(spy, outputs[0] if outputs else None), broken=broken)


@contextlib.contextmanager
def isolated() -> Iterator[None]:
    """Run a part of the user's training with gradients; random state and default dtype stay as they were."""
    default = torch.get_default_dtype()
    try:
        with same_random_state(), torch.enable_grad():
            yield
    finally:
        torch.set_default_dtype(default)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what the user's loop prints from the terminal."""
    import io

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
