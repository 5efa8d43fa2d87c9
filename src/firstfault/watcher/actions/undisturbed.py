"""Doing something in the middle of a training so that the training goes on as if nothing had been done."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from torch import nn

from firstfault.seeds import same_random_state


@contextlib.contextmanager
def undisturbed(models: Iterable[nn.Module]) -> Iterator[None]:
    """Put back modes, gradients, and the random states of Python, NumPy and torch (CPU and CUDA) at the end of the
    block.

    Gradients that the block changes in place stay changed; weights are not copied.
    """
    models = list(models)
    modes = [(module, module.training) for model in models for module in model.modules()]
    gradients = [(value, value.grad) for model in models for value in model.parameters()]
    try:
        with same_random_state(models):
            yield
    finally:
        for module, training in modes:
            module.training = training
        for value, gradient in gradients:
            value.grad = gradient
