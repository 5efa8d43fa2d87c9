"""Penalties on weights that leave the data no say."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch

from firstfault.check import Judgement, check, passed, skipped
from firstfault.checks.training._performance_gap import harmed
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.probe.record import Record
from firstfault.subject.subject import Subject
from firstfault.training.recipe import outputs_of

DECOUPLED = ("AdamW", "NAdamW")


@check(layer=Layer.TRAINING, needs={"record"}, detects={"over_regularised": 0.7})
def over_regularised(subject: Subject, *, times: float = 1.0) -> Iterator[Judgement]:
    """Find a penalty or weight decay that pulls harder at the weights than the data, from the first step on.

    Measures: the norm of the penalty's gradient over that of the loss, at the initial weights and on one batch. For
        weight decay, the norm of decay × weights over that of the first gradient; for AdamW, whose steps are of one
        size, decay × root mean square weight.
    Fails when: it is above `times`, and the training breaks, learns nothing, or ends worse than a simple model.
    Warns when: it is above `times`.
    Not a fault when: weight decay is the usual 1e-4 to 1e-1, which is far below.
    Source: Loshchilov & Hutter 2019, Decoupled Weight Decay Regularization; DeepCrime, mutation of regularisation;
        benchmarks/localise.py, fault over_regularised.
    """
    pulls = {
        name: pull
        for name, pull in (("the penalty", _penalty(subject)), ("weight decay", _decay(subject.record)))
        if pull is not None
    }
    if not pulls:
        yield skipped("there is neither a penalty nor weight decay")
        return
    name = max(pulls, key=lambda name: pulls[name])
    value, text = pulls[name], f"at the start {name} pulls {pulls[name]:.2g} times as hard as the data"
    if value <= times:
        yield passed(text, value=value)
        return
    yield Judgement(
        Status.FAIL if harmed(subject) else Status.WARN,
        text,
        value=value,
        threshold=times,
        where=Place.setting("training.penalty" if name == "the penalty" else "training.optimizer"),
        fix="weaken it by a factor of 100",
    )


def _penalty(subject: Subject) -> float | None:
    training = subject.training
    if training.penalty is None or training.fit is not None:
        return None
    model, batch, recipe = subject.fresh_model(), subject.batch, subject.recipe
    values = [value for value in model.parameters() if value.requires_grad]
    try:
        sizes = [
            _norm(part, values) for part in (training.penalty(model), recipe.loss(outputs_of(model(batch.x)), batch.y))
        ]
    except RuntimeError:  # one of them has no slope
        return None
    return sizes[0] / sizes[1] if sizes[1] > 0 else math.inf


def _norm(loss: torch.Tensor, values: Sequence[torch.Tensor]) -> float:
    grads = torch.autograd.grad(loss, values, allow_unused=True)
    return float(torch.stack([grad.norm() for grad in grads if grad is not None]).norm())


def _decay(record: Record) -> float | None:
    first = [(entry.weight.values[0], entry.size) for entry in record.parameters.values() if len(entry.weight)]
    if not record.weight_decay or not first or not len(record.grad_norm) or not record.grad_norm[0] > 0:
        return None
    weights = math.sqrt(sum(norm**2 for norm, _ in first))
    if any(name in DECOUPLED for name in record.optimizers):
        return float(record.weight_decay * weights / math.sqrt(sum(size for _, size in first)))
    return float(record.weight_decay * weights / record.grad_norm[0])
