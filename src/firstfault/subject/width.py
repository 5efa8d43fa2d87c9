"""The narrowest part of a network, in numbers per sample, and whether it draws numbers of its own."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from firstfault.subject.subject import Subject
from firstfault.training.recipe import outputs_of
from firstfault.training.tensors import tensors_in

ROWS = 32
"""Rows that the model is asked with: its numbers per sample are the same with any."""


def narrowest(subject: Subject, most: int) -> int:
    """The fewest numbers per sample that any module of the model takes or gives.

    Half of `most` where none has fewer, or none is seen.
    """
    model, sizes = subject.fresh_model().eval(), list[float]()
    x = subject.batch.x[:ROWS]

    def look(module: nn.Module, inputs: Any, outputs: Any) -> None:
        sizes.extend(value.numel() / len(x) for value in tensors_in((inputs, outputs)))

    for module in model.modules():
        if not list(module.children()):
            module.register_forward_hook(look)
    with torch.no_grad():
        model(x)
    width = min((size for size in sizes if size >= 1), default=math.inf)
    return int(width) if width < most else max(1, most // 2)


def stochastic(subject: Subject) -> bool:
    """Whether the model draws numbers in training, other than those of dropout, as a variational autoencoder does."""
    model = subject.fresh_model()
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.eval()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        first, second = (outputs_of(model(subject.batch.x[:ROWS])) for _ in range(2))
    return not torch.allclose(first, second, atol=1e-5)
