"""The steps of a loop that has no optimizer, and changes its weights itself."""

from __future__ import annotations

from typing import Any

import torch

from firstfault.probe.models import Models
from firstfault.probe.norms import Norms, has_norms
from firstfault.probe.record import Record
from firstfault.probe.zero_grad import Clearing

MOST_NODES = 10_000
"""Nodes of a loss's graph that are walked through: bounds the time."""


class OwnUpdates:
    """Remembers a small weight after a backward pass, and sees at the next one whether it was changed: then a step was
    made.

    A loop in which an optimizer has ever made a step makes none of its own, and is not told here. Where no model was
    called, the weights are the tensors that a loss is learnt into.
    """

    def __init__(self, record: Record, models: Models, norms: Norms, clearing: Clearing) -> None:
        self._record, self._models, self._norms, self._clearing = record, models, norms, clearing
        self._watched: tuple[torch.Tensor, torch.Tensor] | None = None

    def _find(self, loss: torch.Tensor) -> None:
        """Take in the weights behind a loss, where no module and no optimizer has any."""
        if not self._models.parameters:
            self._models.adopt(_leaves(loss), "weights")

    def after_backward(self, *, sampled: bool) -> None:
        """Remember the smallest weight that has a gradient which is not all zero, and on a sampled step the norms."""
        values = list(self._models.parameters.values())
        learning = [
            value for value in values if value.grad is not None and not value.grad.is_sparse and bool(value.grad.any())
        ]
        value = min(learning, key=lambda value: value.numel(), default=None)
        self._watched = (value, value.detach().clone()) if value is not None else None
        if sampled:
            self._norms.forget()
            self._norms.take(id(self), list(filter(has_norms, values)))

    def made(self, loss: float, now: torch.Tensor, *, sampled: bool) -> bool:
        """Whether the weight was changed since a backward pass of this loss.

        Then the step is put into the record. `now` is the next loss.
        """
        self._find(now)
        watched, self._watched = self._watched, None
        if watched is None or watched[0].shape != watched[1].shape or torch.equal(watched[0].detach(), watched[1]):
            return False
        record = self._record
        record.steps += 1
        if sampled:
            self._norms.pull(id(self), record.steps)
        record.stale_steps += self._clearing.stepped(
            id(self), sorted(self._models.parameters.values(), key=lambda value: value.numel())
        )
        record.loss.add(record.steps, loss)
        return True


def _leaves(loss: torch.Tensor) -> list[Any]:
    """The tensors that a backward pass from here puts gradients into."""
    found: list[Any] = []
    open_nodes, known = [loss.grad_fn], set[Any]()
    while open_nodes and len(known) < MOST_NODES:
        node = open_nodes.pop()
        if node is None or node in known:
            continue
        known.add(node)
        if hasattr(node, "variable"):
            found.append(node.variable)
        open_nodes += [following for following, _ in node.next_functions]
    return found
