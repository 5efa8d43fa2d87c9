"""Do the activations between layers begin where they are flat?"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from firstfault.check import Judgement, check, judge, skipped
from firstfault.finding import Layer
from firstfault.subject.model_inputs import finite_outputs, ordinary_inputs, sound_batch
from firstfault.subject.subject import Subject
from firstfault.training.torch_calls import SATURATING, Call, flag, record

FLAT = {"sigmoid": 5.0, "tanh": 2.5, "softsign": 5.0, "hardsigmoid": 3.0}
"""By function, the input beyond which its slope is less than 3 % of its largest."""
FEWEST = 64  # values of a call


@check(layer=Layer.MODEL, needs={"batch", "outputs"}, detects={"saturating_activation": 0.92})
def saturated_at_start(subject: Subject, *, share: float = 0.8) -> Iterator[Judgement]:
    """Find activations between layers that are flat for nearly all that they are given, before training.

    Measures: the share of the inputs of the worst hard or soft sigmoid, tanh or softsign that lie where its slope is
        below 3 % of its largest, 0–1, in train mode, on the batch and on standard normal inputs, whichever is lower:
        inputs on a wild scale are not the model's fault. Of ReLU6, the share of the inputs above 0 that lie above 6.
    Fails when: it is above `share`. It is proof where that is so for half of them.
    Not a fault when: it is the last one, whose result the model returns.
    Source: Glorot & Bengio 2010: units that begin in saturation stay there; Amazon SageMaker Debugger,
        SaturatedActivation. The share is a choice of ours: after a normalisation 0.32 of the inputs of a hard tanh lie
        where it is flat, and next to none of those of the others.
    """
    finite_outputs(subject)
    runs = [_flat_shares(subject, x) for x in (sound_batch(subject).x, ordinary_inputs(subject))]
    shares = [(call, min(value, other)) for (call, value), (_, other) in zip(*runs, strict=False)]
    if not shares:
        yield skipped("no activation with an upper bound lies between the layers")
        return
    worst, value = max(shares, key=lambda pair: pair[1])
    many = 2 * sum(flat > share for _, flat in shares) >= len(shares)
    yield judge(
        value,
        above=share,
        where=worst.place,
        message=f"{value:.0%} of what {worst.name} is given before training lies where it is flat",
        faults={"saturating_activation": 0.92 if many else 0.75},
        fix="use the default initialisation, normalise before the activation, or use ReLU",
    )


def _flat_shares(subject: Subject, x: torch.Tensor) -> list[tuple[Call, float]]:
    """By call between the layers, in order, the share of its inputs that lie where it is flat."""
    try:
        with torch.no_grad():
            outputs, calls = record(subject.fresh_model().train(), x)
    except ValueError:  # a normalisation over one value
        return []
    hidden = [call for call in calls if call.name in (*SATURATING, "relu6") and not _is(call.result, outputs)]
    return [(call, _flat(call)) for call in hidden if call.args and call.args[0].numel() >= FEWEST]


def _is(result: object, outputs: object) -> bool:
    return isinstance(result, torch.Tensor) and isinstance(outputs, torch.Tensor) and torch.equal(result, outputs)


def _flat(call: Call) -> float:
    x, name = call.args[0].float(), call.name
    if name in FLAT:
        return float((x.abs() > FLAT[name]).float().mean())
    low, high = (0.0, 6.0) if name == "relu6" else (flag(call, "min_val", 1, -1.0), flag(call, "max_val", 2, 1.0))
    if low == 0:  # below it, it is a ReLU
        above = x[x > 0]
        return float((above > high).float().mean()) if len(above) else 0.0
    return float(((x < low) | (x > high)).float().mean())
