"""Where a NaN or infinity was born: input, weight, activation, loss or gradient, and in which module.

nonfinite loss ─ a weight? ─ an input? ─ forward once more on a copy ─ the loss
nonfinite gradient ─ all of these ─ backward once more on a copy ─ the loss's own backward
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch

from firstfault.place import Kind, Place
from firstfault.probe.nonfinite_passes import BACKWARD, Call, arguments, finite, in_backward, in_forward

SHOWN_OPERATIONS = 3
"""Operations before the loss that its place names."""
SET_BY_HAND = "written by something else than an optimizer"
BY_UPDATE = "by the update"
LOSS = Place.part("the loss")


class LossCall(NamedTuple):
    """One call of a loss function of torch: its name, what it was given, and the labels, where they still live."""

    name: str
    outputs: torch.Tensor | None
    target: torch.Tensor | None


def birthplace(
    kind: str,
    calls: Sequence[Call],
    parameters: Mapping[str, torch.Tensor],
    names: Mapping[int, str],
    *,
    loss: torch.Tensor | None = None,
    asked: LossCall | None = None,
) -> tuple[str, Place]:
    """Kind and place of the first non-finite tensor of a step whose weights are finite.

    Args:
        kind: what was seen to be non-finite: loss or gradient.
        calls: the calls of models, in their order.
        parameters: the parameters by name, in the order of the models.
        names: names of modules by id.
        loss: what `backward` was called on.
        asked: the last call of a loss function.
    """
    found = in_calls(calls, names)
    if found is not None:
        return found
    if kind == "loss":
        return _in_loss(loss, asked)
    place = next((place for call in reversed(calls) if (place := in_backward(call, names))), None)
    return "gradient", place or _by_gradients(parameters)


def in_calls(calls: Sequence[Call], names: Mapping[int, str]) -> tuple[str, Place] | None:
    """Kind and place of the first non-finite input or activation of these calls; None where all are finite."""
    for call in calls:
        argument = next(
            (name for name, value in arguments(call.model, call.args, call.kwargs) if not finite(value)), None
        )
        if argument is not None:
            return "input", Place.part(
                f"the input {argument} of {call.name}" if argument else f"the input of {call.name}"
            )
        place = in_forward(call, names)
        if place:
            return "activation", place
    return None


def _by_gradients(parameters: Mapping[str, torch.Tensor]) -> Place:
    """The loss, where all gradients are bad.

    Else the last bad one in the order of the model: a NaN spreads from there to the input.
    """
    learning = [(name, value.grad) for name, value in parameters.items() if value.grad is not None]
    bad = [name for name, grad in learning if not finite(grad)]
    if bad and len(bad) == len(learning) > 1:
        return replace(LOSS, note=BACKWARD)
    return Place(Kind.PARAMETER, (bad[-1],), note=BACKWARD) if bad else Place.part("a gradient")


def _in_loss(loss: torch.Tensor | None, asked: LossCall | None) -> tuple[str, Place]:
    if asked is not None and asked.target is not None and not finite(asked.target):
        return "input", Place.part(f"the labels given to {asked.name}")
    if asked is not None and asked.outputs is not None and not finite(asked.outputs):
        return "loss", Place.part(f"the operations between the model and {asked.name}")
    operations = _operations(loss)
    return "loss", Place.part(f"the loss ({' of '.join(operations)})") if operations else LOSS


def _operations(loss: torch.Tensor | None) -> list[str]:
    """The last operations that made a tensor, the last of them first."""
    found: list[str] = []
    node = getattr(loss, "grad_fn", None)
    while node is not None and len(found) < SHOWN_OPERATIONS:
        name = re.sub(r"(Backward\d*|_)$", "", type(node).__name__)
        found.append(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
        node = next((following for following, _ in node.next_functions if following is not None), None)
    return [name for name in found if name != "accumulate_grad"]
