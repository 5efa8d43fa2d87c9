"""Doing something in the middle of a training so that the training goes on as if nothing had been done."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import nn


@contextlib.contextmanager
def undisturbed(models: Iterable[nn.Module]) -> Iterator[None]:
    """Put back modes, gradients, and the random states of Python, NumPy and torch (CPU and CUDA) at the end of the block.

    Gradients that the block changes in place stay changed; weights are not copied.
    """
    models = list(models)
    modes = [(module, module.training) for model in models for module in model.modules()]
    gradients = [(value, value.grad) for model in models for value in model.parameters()]
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=_devices(models)):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        for module, training in modes:
            module.training = training
        for value, gradient in gradients:
            value.grad = gradient


def _devices(models: Iterable[nn.Module]) -> list[int]:
    """The CUDA devices of some models."""
    found = {value.device.index or 0 for model in models for value in model.parameters() if value.device.type == "cuda"}
    return sorted(found)
