"""A loop of the user's that ends with the weights it began with."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch.nn.parameter import is_lazy

from firstfault.check import Judgement, check, passed, skipped
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.baselines import baselines
from firstfault.subject.subject import Subject


@check(layer=Layer.TRAINING, needs={"trained"}, detects={"stalled": 0.92})
def untrained(subject: Subject, *, halfway: float = 0.5) -> Iterator[Judgement]:
    """Find a loop of the user's own that changes no parameter of a model that needs training.

    Measures: the number of parameters that differ from their first values.
    Fails when: there is none.
    Not a fault when: the factory loads a trained model: one that is more than `halfway` from a constant answer to a
        simple model needs no training.
    Source: TheDeepChecker (Braiek & Khomh 2023), untrained parameters. The bound is a choice of ours;
        tests/checks/training/test_untrained.py holds the cases that it separates.
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
    simple = baselines(subject)
    if math.isnan(simple.prior):
        yield skipped("the metric can't be asked what a constant answer is worth")
        return
    bound = simple.prior + halfway * (simple.best - simple.prior)
    if changed or trained.score > bound:
        yield passed(f"{changed} of {len(first)} parameters changed", value=changed)
        return
    yield Judgement(
        Status.FAIL,
        f"no parameter changed: {trained.metric} on validation is {trained.score:.3f}, "
        f"that of {simple.name} {simple.best:.3f}",
        value=changed,
        threshold=1,
        where=Place.part("training loop"),
        fix="call loss.backward() and optimizer.step() in the loop, on the model itself and not on a copy",
    )
