"""A loop of the user's that ends with the weights it began with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.nn.parameter import is_lazy

from firstfault.check import Judgement, check, passed, skipped
from firstfault.finding import Layer, Status
from firstfault.prior import prior_score

BETTER = 0.05


@check(layer=Layer.TRAINING, needs={"trained"}, detects={"stalled": 0.92})
def untrained(subject: Any, *, better: float = BETTER) -> Iterator[Judgement]:
    """Find a `fit` that changes no parameter, and whose model is no better than a constant answer.

    `value` is how many parameters differ from their first values. A model that its factory loads already trained, and that beats the
    constant answer by `better`, needs no training.

    Source: TheDeepChecker (Ben Braiek and Khomh 2023), untrained parameters.
    """
    trained, recipe = subject.trained, subject.recipe
    stepped = trained.record is not None and trained.record.steps > 0
    if trained.crash is not None or not trained.epochs or (stepped and recipe.training.fit is None):
        yield skipped("it concerns a loop of the user's own that ran to its end")
        return
    first, last = dict(recipe.build(subject.seed).named_parameters()), dict(trained.model.named_parameters())
    if not first or any(map(is_lazy, first.values())) or first.keys() != last.keys():
        yield skipped("the model has no parameters from before the training to compare with")
        return
    changed = sum(not torch.equal(value, last[name].to(value.device)) for name, value in first.items())
    score, prior = trained.score, prior_score(recipe, recipe.validation)
    if changed or score > prior + better:
        yield passed(f"{changed} of {len(first)} parameters changed", value=changed)
        return
    yield Judgement(
        Status.FAIL, f"no parameter changed, and the {trained.metric} of {score:.3f} is that of a constant answer ({prior:.3f})", value=changed,
        threshold=1, where="training loop", fix="call loss.backward() and optimizer.step() in the loop, on the model itself and not on a copy",
    )
