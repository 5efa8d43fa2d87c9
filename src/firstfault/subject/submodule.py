"""A submodule tested alone: its inputs are what it receives in the whole model for a training batch."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from firstfault.errors import Missing, TargetError
from firstfault.subject.loss_call import LossCall, loss_call
from firstfault.subject.subject import Subject
from firstfault.training.recipe import Tensors, outputs_of

LISTED = 20
"""Names of submodules that a message lists."""


@dataclass(frozen=True)
class CalledWith:
    """What a module is called with: its arguments, which is its input, and the axis of each that counts the samples.

    `axes` are by position or keyword; `output_axis` is that of its first output, and None when it does not grow
    with the batch.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    slot: int | str
    axes: Mapping[int | str, int]
    output_axis: int | None
    samples: int

    @property
    def inputs(self) -> torch.Tensor:
        """The input with the samples first, `(N, …)`."""
        rows = self._given(self.slot).movedim(self.axes[self.slot], 0)
        per_sample = len(rows) // self.samples
        return rows.reshape(self.samples, per_sample, *rows.shape[1:]) if per_sample > 1 else rows

    def call(self, module: nn.Module, x: torch.Tensor) -> Any:
        """What the module returns for other inputs `(n, …)` and the first n samples' other arguments; samples first."""
        rows = x.flatten(0, 1) if x.ndim > self._given(self.slot).ndim else x
        args = [self._for(index, value, x, rows) for index, value in enumerate(self.args)]
        result = module(*args, **{key: self._for(key, value, x, rows) for key, value in self.kwargs.items()})
        if self.output_axis is None:
            return result
        outputs = outputs_of(result)
        if self.output_axis == 0 and len(outputs) == len(x):
            return result
        outputs = outputs.movedim(self.output_axis, 0)
        return outputs.reshape(len(x), -1, *outputs.shape[1:]) if len(outputs) > len(x) else outputs

    def _given(self, key: int | str) -> Any:
        return self.args[key] if isinstance(key, int) else self.kwargs[key]

    def _for(self, key: int | str, value: Any, x: torch.Tensor, rows: torch.Tensor) -> Any:
        if key == self.slot:
            return rows.movedim(0, self.axes[key])
        if key not in self.axes:
            return value
        return value.narrow(self.axes[key], 0, value.shape[self.axes[key]] * len(x) // self.samples)


class Alone(nn.Module):
    """One module of a model, under the name that it has there, called with a batch of its own inputs."""

    def __init__(self, model: nn.Module, where: str, place: CalledWith) -> None:
        super().__init__()
        holder: nn.Module = self
        *above, last = where.split(".")
        for name in above:
            holder.add_module(name, nn.Module())
            holder = holder.get_submodule(name)
        holder.add_module(last, model.get_submodule(where))
        self._where, self._place = where, place

    def forward(self, x: torch.Tensor) -> Any:
        """What the module returns for inputs `(N, …)`, with the samples first."""
        return self._place.call(self.get_submodule(self._where), x)


def submodule_subject(subject: Subject, where: str) -> Subject:
    """A subject whose model is the module `where` of the subject's model: `run_checks(Layer.MODEL, …)` tests it alone.

    Its batch is what that module receives in train mode for the training batch (at its first call in a forward pass);
    arguments other than its first tensor stay as they were. It has no labels and no loss, so that
    checks that need them are skipped; all are, where it is called without a tensor that has an entry per sample.
    Parameters keep the names that they have in the whole model.

    Raises:
        TargetError: when the model has no module of that name, or does not call it.
        Missing: when the target declares no model.
        UserCodeError: when the model raises.
    """
    expect_name(subject.model, where)
    subject.get("outputs")  # materialises lazy layers, and tells what raises
    try:
        place = place_of(subject, where)
    except Missing as reason:
        return _untestable(subject, reason)
    recipe = replace(
        subject.recipe, task="classification", classes=0, model=lambda: Alone(subject.recipe.model(), where, place)
    )
    part = subject.with_recipe(recipe)
    part.supply(Subject.model, Alone(copy.deepcopy(subject.model), where, place).eval())
    part.supply(Subject.batch, Tensors(place.inputs, torch.zeros(place.samples)))
    part.supply(Subject.labels, Missing(f"{where} alone has no labels and no loss"))
    part.supply(loss_call, LossCall(None, None, None, False))
    return part


def _untestable(subject: Subject, reason: Missing) -> Subject:
    part = subject.with_recipe(subject.recipe)
    part.supply(Subject.batch, reason)
    return part


def expect_name(model: nn.Module, where: str) -> None:
    """Raise a TargetError that lists the names that exist, unless `where` is one."""
    names = [name for name, _ in model.named_modules() if name]
    if where not in names:
        raise TargetError(f"the model has no module {where!r}; it has {_some(names, where)}")


def _some(names: list[str], like: str = "") -> str:
    near = difflib.get_close_matches(like, names, 3) if like else []
    ordered = [*near, *(name for name in sorted(names, key=lambda name: name.count(".")) if name not in near)]
    more = f" and {len(ordered) - LISTED} more" if len(ordered) > LISTED else ""
    return (", ".join(ordered[:LISTED]) or "none") + more


def place_of(subject: Subject, where: str) -> CalledWith:
    """How the model calls its module `where` on the training batch.

    It is called once more with fewer samples, to see what counts them.

    Raises:
        TargetError: when it does not call it.
        Missing: when no tensor that it is called with grows with the batch.
    """
    x = subject.batch.x
    args, kwargs, result = _first_call(subject, x, where)
    fewer = _first_call(subject, x[:-1], where) if len(x) > 2 else None
    keyed: list[tuple[int | str, Any]] = [*enumerate(args), *kwargs.items()]
    axes: dict[int | str, int] = {}
    for key, value in keyed:
        if isinstance(value, torch.Tensor) and value.ndim:
            other = None if fewer is None else _item(fewer[0], fewer[1], key)
            axis = _axis(value, other, len(x))
            if axis is not None:
                axes[key] = axis
    slot = next(iter(axes), None)
    if slot is None:
        raise Missing(f"{where} is called without a tensor that has an entry per sample")
    output_axis = _axis(outputs_of(result), None if fewer is None else outputs_of(fewer[2]), len(x))
    return CalledWith(args, kwargs, slot, axes, output_axis, len(x))


def _item(args: tuple[Any, ...], kwargs: Mapping[str, Any], key: Any) -> Any:
    return args[key] if isinstance(key, int) else kwargs[key]


def _axis(value: torch.Tensor, fewer: Any, samples: int) -> int | None:
    """The axis that shrinks with the batch.

    Where there is no second batch, the first whose length is a multiple of the samples.
    """
    for axis, length in enumerate(value.shape):
        shrunk = length % samples == 0 if fewer is None else fewer.shape[axis] == length // samples * (samples - 1)
        if shrunk and length % samples == 0 and length:
            return axis
    return None


def _first_call(subject: Subject, x: torch.Tensor, where: str) -> tuple[tuple[Any, ...], dict[str, Any], Any]:
    for train in (True, False):  # batch normalisation may refuse the batch in train mode
        model = subject.fresh_model().train(train)
        called: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        results: list[Any] = []
        module = model.get_submodule(where)
        module.register_forward_pre_hook(lambda _, args, kwargs: called.append(_held((args, kwargs))), with_kwargs=True)  # noqa: B023
        module.register_forward_hook(lambda _, args, result: results.append(_held(result)))  # noqa: B023
        try:
            _forward(model, x, subject.seed)
        except ValueError:
            if train:
                continue
            raise
        break
    if not called:
        running = [name for name, _ in subject.model.named_modules() if name.startswith(f"{where}.")]
        parts = f"; its parts are {_some(running)}" if running else ""
        raise TargetError(f"the forward pass does not call {where!r}{parts}")
    return *called[0], results[0]


def _forward(model: nn.Module, x: torch.Tensor, seed: int) -> None:
    with torch.enable_grad(), torch.random.fork_rng(devices=[]):  # with gradients, torch's encoder calls its layers
        torch.manual_seed(seed)
        model(x)


def _held(value: Any) -> Any:
    """Arguments as they are now, cut off the graph."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if type(value) in (tuple, list):
        return type(value)(_held(item) for item in value)
    return {key: _held(item) for key, item in value.items()} if type(value) is dict else value


Change = Callable[[nn.Module], nn.Module]


def with_model(subject: Subject, change: Change) -> Subject:
    """The same subject, whole or part, with `change` applied to a copy of its model and to what its factory builds."""
    other = subject.with_recipe(replace(subject.recipe, model=lambda: change(subject.recipe.model())))
    other.supply(Subject.batch, subject.batch)
    other.supply(Subject.model, change(copy.deepcopy(subject.model)))
    if subject.owner is subject:
        other.owner = other
    else:
        other.supply(Subject.labels, Missing(str(subject.memos.peek(Subject.labels))))
        other.supply(loss_call, loss_call(subject))
    return other
