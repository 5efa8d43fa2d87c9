"""The settings of a training that a swap changes, with their new values as plain ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from firstfault.interrupts import pass_on
from firstfault.training.recipe import Recipe

OF_OPTIMIZERS = ("lr", "weight_decay")
OF_LOOPS = ("shuffle", "batch_size", "epochs", "clip_norm")


def settings_changed(before: Recipe, after: Recipe) -> dict[str, Any]:
    """The settings of `after` that are others than those of `before`; `optimizer` is the name of its class."""
    known = [_settings(recipe) for recipe in (before, after)]
    return {name: value for name, value in known[1].items() if known[0].get(name) != value}


def _settings(recipe: Recipe) -> dict[str, Any]:
    training = recipe.training
    loop = {name: getattr(training, name) for name in OF_LOOPS}
    return {**loop, **_of_optimizer(recipe)}


def _of_optimizer(recipe: Recipe) -> dict[str, Any]:
    """Those of the optimizer on a parameter that nobody needs; empty for a factory that wants its own parameters."""
    try:
        made: Any = (recipe.training.optimizer or torch.optim.Adam)([nn.Parameter(torch.zeros(1))])
        first = made.param_groups[0]
        numbers = {name: float(first[name]) for name in OF_OPTIMIZERS if isinstance(first.get(name), int | float)}
    except BaseException as error:
        pass_on(error)
        return {}
    return {"optimizer": type(made).__name__, **numbers}
