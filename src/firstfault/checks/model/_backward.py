"""One backward pass of the untrained model's outputs, whatever its loss: which tensors get a gradient."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from firstfault.subject.memo import memo
from firstfault.subject.model_inputs import all_outputs, sound_batch
from firstfault.subject.subject import Subject


class Backward(NamedTuple):
    """By parameter name, the gradient of a random mix of all outputs; shapes of leaves that are no parameters."""

    gradients: dict[str, torch.Tensor | None]
    unregistered: list[tuple[int, ...]]


@memo(of="model")
def backward(subject: Subject) -> Backward:
    """Backward through the sound batch, from a random mix of its outputs.

    A plain sum of outputs is blind before a softmax, and one loss to other outputs.
    """
    try:
        return _backward_in(subject, train=True)
    except ValueError:  # batch normalisation refuses a single sample
        return _backward_in(subject, train=False)


def _backward_in(subject: Subject, *, train: bool) -> Backward:
    model = subject.fresh_model().train(train)
    named = {name: value for name, value in model.named_parameters() if value.requires_grad}
    with torch.enable_grad():
        outputs = all_outputs(model, sound_batch(subject).x)
        mix = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(1)).to(outputs)
        total = (outputs * mix).sum()
    values = list(named.values())
    found = torch.autograd.grad(total, values, allow_unused=True) if total.requires_grad else [None] * len(named)
    return Backward(dict(zip(named, found, strict=True)), _unregistered(total, model))


def _unregistered(total: torch.Tensor, model: nn.Module) -> list[tuple[int, ...]]:
    """Shapes of the leaves in the graph of `total` that are no parameters of the model."""
    known = {id(value) for value in model.parameters()}
    shapes, seen, waiting = [], set(), [total.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None and id(leaf) not in known:
            shapes.append(tuple(leaf.shape))
        waiting.extend(entry[0] for entry in node.next_functions)
    return shapes


def stray_tensors(subject: Subject) -> list[tuple[int, ...]]:
    """The shapes of tensors that get a gradient but are no parameters, as those of layers in a plain list."""
    return backward(subject).unregistered
