"""What the first layers of a model receive for raw rows: a model may rescale its inputs by itself."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn

from firstfault.subject.subject import Subject
from firstfault.training.batches import through_loader
from firstfault.training.one_tensor import Rows, inputs_of_call

NORMALISING = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
    nn.LocalResponseNorm,
    nn.Embedding,
    nn.EmbeddingBag,
)
CALLS_OF_SEVERAL = 64  # of modules, so that the second of two towers is met
TOLD_APART = 64  # rows: inputs differ in some of them
FIRST_CALLS = 8  # of modules: embeddings may come before the layer that takes numbers
SEEN_ROWS = 5_000  # a root mean square of so many errs by about 1 %


Call = tuple[nn.Module, torch.Tensor]


class Received(NamedTuple):
    """What the first layer with parameters receives for raw rows: `(N, …)`, or None if it normalises or embeds.

    Of several inputs, `names` are those of the columns.
    """

    values: torch.Tensor | None
    reason: str
    names: tuple[str, ...] = ()


def received(subject: Subject) -> Received:
    """The training inputs as the first layer with parameters gets them: a model may rescale by itself."""
    recipe = subject.recipe
    x = recipe.inputs_for(
        subject.model, torch.cat([part.x for part in through_loader(recipe, recipe.train.rows(slice(SEEN_ROWS)))])
    )
    inputs = inputs_of_call(subject.model)
    if isinstance(inputs, Rows):
        return _of_several(subject, x, inputs)
    if not x.is_floating_point():
        return Received(None, "the inputs are token ids")
    calls = _first_calls(subject, x)
    if calls and isinstance(calls[0][0], NORMALISING):
        return Received(None, f"the model begins with {type(calls[0][0]).__name__}")
    if calls and calls[0][1].is_floating_point() and calls[0][1].numel() == x.numel():
        return Received(calls[0][1].reshape(x.shape), "")
    return Received(x, "")


def _first_calls(subject: Subject, x: torch.Tensor, most: int = FIRST_CALLS) -> list[Call]:
    """The first calls of modules with parameters, and what they are given; none where the model raises."""
    calls: list[Call] = []

    def note(module: nn.Module, inputs: Any) -> None:
        if inputs and isinstance(inputs[0], torch.Tensor) and (len(calls) < most):
            calls.append((module, inputs[0].detach()))

    hooks = [module.register_forward_pre_hook(note) for module in subject.model.modules() if _has_own_weights(module)]
    try:
        with torch.no_grad():
            subject.model(x)
    except Exception:  # a model that raises is the model layer's business
        calls.clear()
    finally:
        for hook in hooks:
            hook.remove()
    return calls


def _of_several(subject: Subject, x: torch.Tensor, inputs: Rows) -> Received:
    """Of several inputs, what the layers get that take numbers, and no result of another one but an embedding."""
    received = _by_input(subject, x, inputs)
    if received:
        names = [f"{name}[{column}]" for name, value in received.items() for column in range(value.shape[1])]
        return Received(torch.cat(list(received.values()), 1), "", tuple(names))
    for module, value in _first_calls(subject, x):
        if isinstance(module, nn.Embedding | nn.EmbeddingBag):
            continue
        if isinstance(module, NORMALISING) or not value.is_floating_point() or value.ndim != 2:
            return Received(None, f"the first layer that takes numbers is {type(module).__name__}")
        return Received(value, "")
    return Received(None, "no layer takes numbers")


def _by_input(subject: Subject, x: torch.Tensor, inputs: Rows) -> dict[str, torch.Tensor]:
    """The inputs `(N, D)` that a layer takes as they are, and that none normalises, by their names."""
    number = inputs.numbers(x)
    given = {name: rows[number] for name, rows in inputs.named.items() if rows.is_floating_point() and rows.ndim == 2}
    found, normalised = {}, set()
    for module, value in _first_calls(subject, x[:TOLD_APART], CALLS_OF_SEVERAL) if given else ():
        for name, rows in given.items():
            if value.shape[1:] == rows.shape[1:] and torch.equal(value.cpu(), rows[:TOLD_APART]):
                found[name] = rows
                normalised |= {name} if isinstance(module, NORMALISING) else set()
    return {name: rows for name, rows in found.items() if name not in normalised}


def _has_own_weights(module: nn.Module) -> bool:
    return isinstance(module, NORMALISING) or next(module.parameters(recurse=False), None) is not None
