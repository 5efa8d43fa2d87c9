"""Which weights the first step of the target's own training reaches, whatever the terms of its loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from firstfault.subject.loss_call import isolated, quiet
from firstfault.subject.memo import memo
from firstfault.subject.model_inputs import sound_batch
from firstfault.subject.subject import Subject
from firstfault.training.observer import Enough
from firstfault.training.recipe import Tensors, outputs_of


@memo(of="model")
def reached_in_a_step(subject: Subject) -> frozenset[str]:
    """The names of the parameters that hold a gradient other than 0 when the optimizer first steps.

    There are none where it never does. Built once.
    """
    with isolated(), quiet():
        model = subject.recipe.build(subject.seed)
        (_step if subject.recipe.training.fit is None else _fit)(subject, model)
    return frozenset(
        name for name, value in model.named_parameters() if value.grad is not None and bool(value.grad.any())
    )


def _step(subject: Subject, model: nn.Module) -> None:
    recipe, batch = subject.recipe, sound_batch(subject)
    try:
        loss = recipe.loss(outputs_of(model(recipe.inputs_for(model, batch.x))), batch.y)
        if recipe.training.penalty is not None:
            loss = loss + recipe.training.penalty(model)
        loss.backward()  # type: ignore[no-untyped-call]
    except Exception:  # which the training will say
        return


def _fit(subject: Subject, model: nn.Module) -> None:
    from firstfault.training.batches import loader

    batch, training = sound_batch(subject), subject.recipe.training
    rows = Tensors(subject.recipe.inputs_for(model, batch.x), batch.y)
    batches = loader(rows, training.batch_size, False, subject.seed)
    own = {id(value) for value in model.parameters()}

    def stop(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if any(id(value) in own for group in optimizer.param_groups for value in group["params"]):
            raise Enough

    assert training.fit is not None
    handle = register_optimizer_step_pre_hook(stop)
    try:
        training.fit(model, batches, batches)
    except (Enough, Exception):
        return
    finally:
        handle.remove()
