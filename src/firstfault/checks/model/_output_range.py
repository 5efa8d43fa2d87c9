"""What a network can answer at all: its outputs while the weights of its last layer are drawn wide."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from firstfault.checks.model._weights_used import weights_used
from firstfault.errors import Missing
from firstfault.subject.loss_call import loss_call, loss_on
from firstfault.subject.memo import memo
from firstfault.subject.model_inputs import answer, ordinary_inputs, sound_batch
from firstfault.subject.subject import Subject
from firstfault.training.losses import OF_CLASSES, are_distributions

ROWS = 64  # bounds the time of 16 forward passes
SCALES = (1.0, 10.0, 100.0, 1000.0)  # widths of the last layer: a bound shows as outputs that no longer grow
CALM = 10.0  # distributions are looked for up to this width: outputs of wider weights are rounded, or overflow
GROWS = 0.5  # of the span: outputs without a bound grow tenfold with the scale, bounded ones not at all


@dataclass(frozen=True)
class Reach:
    """The outputs that a network can reach, as its loss is given them.

    `open_below` and `open_above` tell that wider weights give outputs further out without end. `simplex`
    and `log_simplex` tell that every row is a distribution over the classes, or the logarithm of one;
    `constant` is the only number that the network ever answers.
    """

    low: float
    high: float
    open_below: bool
    open_above: bool
    simplex: bool
    log_simplex: bool
    constant: float | None

    @property
    def bounded(self) -> bool:
        """Whether the outputs are bounded on both sides."""
        return not (self.open_below or self.open_above)

    def __str__(self) -> str:
        low = "−∞" if self.open_below else f"{self.low:.2g}"
        high = "∞" if self.open_above else f"{self.high:.2g}"
        return f"{low} to {high}"


@memo(of="model")
def reach(subject: Subject) -> Reach:
    """What the loss can be given, from 16 draws of the last layer's weights, half of them the others' negative.

    With W and −W drawn, raw outputs come on both sides of 0, however few they are. Built once.

    Raises:
        Missing: when the user's loop changes the outputs before the loss, or no draw gives finite outputs.
    """
    draws = {scale: torch.cat(parts) for scale in SCALES if (parts := list(_draws(subject, scale)))}
    found = _summary(draws) if draws else None
    if found is None:
        raise Missing("no finite outputs could be drawn, so their range is unknown")
    return found


def _draws(subject: Subject, scale: float) -> Iterator[torch.Tensor]:
    model = copy.deepcopy(subject.model)
    batch, noise = sound_batch(subject).x[:ROWS], ordinary_inputs(subject)[:ROWS]
    names = last_parameters(model, batch)
    generator = torch.Generator().manual_seed(subject.seed)
    for number in range(2):
        drawn = {name: _draw(model.get_parameter(name), scale, generator) for name in names}
        for sign in (1.0, -1.0):
            with torch.no_grad():
                for name, value in drawn.items():
                    model.get_parameter(name).copy_(value * sign)
            outputs = answer(model, noise if number else batch)
            seen = _as_the_loss_sees(subject, outputs)
            if seen is not None:
                yield from _finite(seen)


def _draw(value: torch.Tensor, scale: float, generator: torch.Generator) -> torch.Tensor:
    width = max(1, value[0].numel()) if value.ndim > 1 else 1
    return torch.randn(value.shape, generator=generator).to(value) * scale / math.sqrt(width)


def last_parameters(model: nn.Module, x: torch.Tensor) -> list[str]:
    """The parameters of the last call that multiplies by a weight, of what runs after it, and single numbers."""
    uses = weights_used(model, x)
    last = max((place for place, use in enumerate(uses) if use.weighs), default=None)
    if last is None:
        return [name for name, _ in model.named_parameters()]
    chosen = {name for use in uses[last:] for name in use.parameters}
    return [
        name
        for name, value in model.named_parameters()
        if value.is_floating_point() and (name in chosen or value.numel() == 1)
    ]


def _as_the_loss_sees(subject: Subject, outputs: torch.Tensor) -> torch.Tensor | None:
    """Outputs as the loss function gets them, classes last; the outputs themselves where no loss is known."""
    call = loss_call(subject)
    if call.name is None or call.input is None:
        return outputs
    if call.direct:
        seen = outputs.reshape(len(outputs), *call.input.shape[1:]) if call.input.shape[0] == len(outputs) else outputs
    elif subject.recipe.training.fit is None:
        again = loss_on(subject, outputs).input
        if again is None:
            return None
        seen = again
    else:
        raise Missing("the user's loop changes the outputs before the loss")
    return seen.movedim(1, -1) if call.name in OF_CLASSES and call.input.ndim > 2 and seen.ndim > 2 else seen


def _finite(outputs: torch.Tensor) -> Iterator[torch.Tensor]:
    rows = outputs.detach().float().flatten(0, -2) if outputs.ndim > 2 else outputs.detach().float()
    keep = torch.isfinite(rows.flatten(1) if rows.ndim > 1 else rows[:, None]).all(1)
    if keep.any():
        yield rows[keep]


def _summary(draws: dict[float, torch.Tensor]) -> Reach:
    near, far = draws[min(draws)], draws[max(draws)]
    before = draws.get(sorted(draws)[-2], far) if len(draws) > 1 else far
    span = float(before.max() - before.min()) + 1e-6
    every = torch.cat([draw.flatten() for draw in draws.values()])
    cut = len(draws) < len(SCALES)  # the widest weights overflow: so there is no bound
    single = bool((every == every[0]).all())
    calm = torch.cat([draw for scale, draw in draws.items() if scale <= CALM]) if min(draws) <= CALM else near
    return Reach(
        low=float(every.min()),
        high=float(every.max()),
        open_below=float(before.min() - far.min()) > GROWS * span,
        open_above=cut or float(far.max() - before.max()) > GROWS * span,
        simplex=are_distributions(calm),
        log_simplex=are_distributions(calm.exp()) and float(calm.max()) <= 1e-6,
        constant=float(every[0]) if single else None,
    )
