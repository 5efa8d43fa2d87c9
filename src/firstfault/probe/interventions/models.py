"""Other models: their mode at gradient steps, dropout, initial weights, the scale of inputs, and who holds what."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from firstfault.probe.interventions.hooks import around_models, around_steps, replaced
from firstfault.probe.interventions.intervention import Done, intervention

FEWEST_ROWS = 8
"""Of a batch: with fewer, its mean would say more of the batch than of the inputs."""
BATCHES_OF_STATISTICS = 8
"""Batches that a scale is learnt from: of 8 rows each, a mean errs by an eighth of a deviation."""


@intervention(change="train mode wherever gradients are made", undoes=("missing_eval_mode", "norm_statistics_wrong"))
def train_mode(done: Done) -> Iterator[None]:
    """A model that is called with gradients on is in train mode during the call."""
    eval_before: dict[int, list[nn.Module]] = {}

    def before(model: nn.Module, args: Any, kwargs: Any) -> None:
        still = [module for module in model.modules() if not module.training] if torch.is_grad_enabled() else []
        if still:
            done.note(f"{type(model).__name__} in train mode at gradient steps", type(model).__name__)
            eval_before[id(model)] = still
            for module in still:
                module.training = True

    def after(model: nn.Module) -> None:
        for module in eval_before.pop(id(model), []):
            module.training = False

    with around_models(before, after):
        yield


@intervention(change="no dropout", undoes=("excessive_dropout",), on_validation=True)
def no_dropout(done: Done) -> Iterator[None]:
    """Nothing is dropped, by no module and no function of torch."""

    def before(model: nn.Module, args: Any, kwargs: Any) -> None:
        for module in model.modules():
            share: Any = getattr(module, "dropout", 0.0)
            if isinstance(module, nn.RNNBase | nn.MultiheadAttention) and share:
                done.note(f"dropout {float(share):.3g} → 0", "dropout")
                module.dropout = 0.0

    def call(dropout: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        share = args[1] if len(args) > 1 else kwargs.get("p", 0.5)
        if share and (args[2] if len(args) > 2 else kwargs.get("training", True)):
            done.note(f"dropout {float(share):.3g} → 0", "dropout")
        return args[0] if args else kwargs["input"]

    with contextlib.ExitStack() as stack:
        stack.enter_context(around_models(before))
        for name in ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"):
            stack.enter_context(replaced(functional, name, call))
        yield


@intervention(change="the default initialisation", undoes=("constant_init", "exploding_init", "dead_relu"))
def default_initialisation(done: Done) -> Iterator[None]:
    """Before its first call with gradients, torch's modules in a model begin again as they are made."""
    begun: weakref.WeakSet[nn.Module] = weakref.WeakSet()

    def before(model: nn.Module, args: Any, kwargs: Any) -> None:
        if model in begun or not torch.is_grad_enabled():
            return
        begun.add(model)
        for module in model.modules():
            reset: Any = getattr(module, "reset_parameters", None)
            if reset is not None and type(module).__module__.startswith("torch.nn."):
                done.note(f"{type(model).__name__} begins with torch's own initialisation", type(model).__name__)
                reset()

    with around_models(before):
        yield


class _Scale:
    """The mean and deviation of the features in the first batches of one model's inputs."""

    def __init__(self) -> None:
        self.batches = 0
        self.mean: Any = 0.0
        self.square: Any = 0.0

    def of(self, x: torch.Tensor, learns: bool) -> torch.Tensor | None:
        """The inputs standardised; None before a batch was learnt from."""
        # channels of images, else the last axis
        axes = [axis for axis in range(x.ndim) if axis != (1 if x.ndim == 4 else x.ndim - 1)] if x.ndim > 1 else [0]
        if learns and self.batches < BATCHES_OF_STATISTICS and len(x) >= FEWEST_ROWS:
            values = x.detach().double()
            mean, square = values.mean(axes, keepdim=True), (values**2).mean(axes, keepdim=True)
            self.mean = (self.mean * self.batches + mean) / (self.batches + 1)
            self.square = (self.square * self.batches + square) / (self.batches + 1)
            self.batches += 1
        if not self.batches:
            return None
        deviation = (self.square - self.mean**2).clamp_min(0.0).sqrt()
        deviation = torch.where(deviation > 1e-9, deviation, torch.ones_like(deviation))
        return ((x.double() - self.mean) / deviation).to(x.dtype)


@intervention(
    change="inputs standardised by the statistics of the first batches",
    undoes=("missing_normalisation", "saturating_activation"),
)
def standardised_inputs(done: Done) -> Iterator[None]:
    """The first tensor of numbers that a model is given has mean 0 and deviation 1, feature by feature."""
    scales: weakref.WeakKeyDictionary[nn.Module, _Scale] = weakref.WeakKeyDictionary()

    def before(model: nn.Module, args: Any, kwargs: Any) -> Any:
        where = next((place for place, value in _named(args, kwargs) if _is_numbers(value)), None)
        if where is None:
            return None
        x = args[where] if isinstance(where, int) else kwargs[where]
        changed = scales.setdefault(model, _Scale()).of(x, torch.is_grad_enabled())
        if changed is None:
            return None
        done.note(f"the inputs of {type(model).__name__} standardised", type(model).__name__)
        if isinstance(where, int):
            return (*args[:where], changed, *args[where + 1 :]), kwargs
        return args, {**kwargs, where: changed}

    with around_models(before):
        yield


def _named(args: Any, kwargs: Any) -> Iterator[tuple[int | str, Any]]:
    yield from enumerate(args)
    yield from kwargs.items()


def _is_numbers(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point() and value.ndim > 0 and not value.requires_grad


@intervention(
    change="the parameters that no optimizer holds, given to the first", undoes=("parameters_not_in_optimizer",)
)
def all_parameters(done: Done) -> Iterator[None]:
    """Before its second step, an optimizer is given what called models have and no optimizer that has stepped holds."""
    models: weakref.WeakSet[nn.Module] = weakref.WeakSet()
    stepped: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

    def called(model: nn.Module, args: Any, kwargs: Any) -> None:
        if torch.is_grad_enabled():
            models.add(model)

    def before(optimizer: Any) -> None:
        stepped[optimizer] = stepped.get(optimizer, 0) + 1
        if stepped[optimizer] != 2:
            return
        held = {id(value) for known in stepped for group in known.param_groups for value in group["params"]}
        every = {id(value): value for model in models for value in model.parameters() if value.requires_grad}
        left = [value for key, value in every.items() if key not in held]
        if left:
            count = sum(value.numel() for value in left)
            done.note(f"{count:,} parameters that no optimizer held given to {type(optimizer).__name__}")
            optimizer.add_param_group({"params": left})

    with around_models(called), around_steps(before):
        yield
