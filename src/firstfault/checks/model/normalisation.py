"""Batch normalisation and dropout: settings that give eval mode other numbers than training saw."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from firstfault.check import Judgement, check, judge, passed, skipped
from firstfault.checks.model.seen_in_loop import record_of
from firstfault.finding import Layer, Status
from firstfault.place import SHOWN, Kind, Place
from firstfault.subject.model_inputs import answer, sound_batch
from firstfault.subject.subject import Subject
from firstfault.training.torch_calls import flag
from firstfault.training.torch_calls import record as calls_of

BatchNorm = nn.modules.batchnorm._BatchNorm


@check(layer=Layer.MODEL, needs={"batch", "outputs"}, detects={"norm_statistics_wrong": 0.9})
def norm_statistics_wrong(subject: Subject, *, left: float = 0.5, highest: float = 0.9) -> Iterator[Judgement]:
    """Find batch normalisation whose running statistics are not those of the data.

    Measures: the number of such modules, for the first reason that is met: momentum 0; more than the share `left` of
        the initial statistics remains after training; no running statistics; eval mode during training, with statistics
        of no data; the last batch's statistics only, by a momentum of at least `highest`, as Keras counts it; a batch
        of one sample.
    Fails when: there is one.
    Not a fault when: the user's own loop trains: its steps and batches are not known, so that the share that is left
        and batches of one are not looked at.
    Source: torch.nn.BatchNorm1d: new = (1 − momentum) × old + momentum × batch; Ioffe 2017 on small batches. With
        `left` at a half the statistics are those of the start more than those of the data; torch's default momentum of
        0.1 is 0.9 to Keras.
    """
    model = subject.fresh_model()
    norms = [(name, module) for name, module in model.named_modules() if isinstance(module, BatchNorm)]
    if not norms:
        yield skipped("the model has no batch normalisation")
        return
    record = record_of(subject)
    if record is not None and (record.norms_in_eval or record.left_in_eval):
        yield skipped("the loop learns in eval mode, which is judged on its own")
        return
    for text, names, weight in _reasons(subject, norms, left, highest):
        if names:
            yield Judgement(
                Status.FAIL,
                f"{len(names)} batch normalisations {text}",
                value=len(names),
                threshold=0,
                where=Place.modules(*names[:SHOWN]),
                faults={"norm_statistics_wrong": weight},
                fix="use the default momentum of 0.1 and running statistics, and batches of more than one",
            )
            return
    lone = _batch_of_one(subject, model)
    if lone:
        yield Judgement(
            Status.FAIL,
            f"batch normalisation refuses {lone}",
            value=1,
            threshold=2,
            where=Place.modules(norms[0][0]),
            fix="use another batch size, drop the last batch, or use LayerNorm",
        )
        return
    yield passed(f"{len(norms)} batch normalisations update their statistics")


def _reasons(
    subject: Subject, norms: list[tuple[str, Any]], left: float, highest: float
) -> Iterator[tuple[str, list[str], float]]:
    training = subject.recipe.training
    steps = training.epochs * math.ceil(len(subject.recipe.train) / training.batch_size)
    kept = {name: (1 - module.momentum) ** steps for name, module in norms if module.momentum is not None}
    yield "have momentum 0, and keep their first statistics", [n for n, m in norms if m.momentum == 0], 0.92
    if training.fit is None:
        yield (
            f"still hold the initial statistics after {steps} steps",
            [n for n, share in kept.items() if share > left],
            0.8,
        )
    yield (
        "keep no running statistics, so that an answer depends on its batch",
        [n for n, m in norms if m.running_mean is None],
        0.9,
    )
    yield "do not leave eval mode in training, with statistics of no data", [n for n, m in norms if _idle(m)], 0.9
    yield "keep the statistics of the last batch only", [n for n, m in norms if (m.momentum or 0) >= highest], 0.75


def _idle(module: Any) -> bool:
    if module.training or module.running_mean is None:
        return False
    return not bool(module.running_mean.any()) and bool((module.running_var == 1).all())


def _batch_of_one(subject: Subject, model: nn.Module) -> str | None:
    training, rows = subject.recipe.training, len(subject.recipe.train)
    lone = rows % training.batch_size == 1 and not training.shuffle  # a shuffled pass leaves it out
    if training.fit is not None or (training.batch_size > 1 and not lone):
        return None
    try:
        answer(model.train(), sound_batch(subject).x[:1])
    except ValueError as error:
        if "more than 1 value per channel" in str(error):
            return (
                "batches of one sample"
                if training.batch_size == 1
                else f"the last batch: {rows} samples in batches of {training.batch_size} leave one"
            )
    return None


@check(layer=Layer.MODEL, needs={"batch", "outputs"}, detects={"excessive_dropout": 0.75})
def excessive_dropout(subject: Subject, *, least: float = 0.8) -> Iterator[Judgement]:
    """Find dropout that removes nearly everything, as a module or as a function.

    Measures: the highest rate, 0–1.
    Fails when: the rate is at least `least`.
    Source: Srivastava et al. 2014: 0.5 in hidden layers, 0.2 at the input. The bound is a choice of ours between that
        and benchmarks/localise.py, fault excessive_dropout (0.97).
    """
    rates = _rates(subject)
    if not rates:
        yield skipped("the model has no dropout")
        return
    worst = max(rates, key=lambda name: rates[name])
    yield judge(
        rates[worst],
        above=least - 1e-6,
        where=worst,
        message=f"dropout in {worst} removes {rates[worst]:.0%}",
        faults={"excessive_dropout": 0.75 if rates[worst] < 0.95 else 0.9},
        fix="lower the rate to 0.1–0.5",
    )


def _rates(subject: Subject) -> dict[Place, float]:
    model = subject.fresh_model()
    rates = {
        Place(Kind.MODULE, (name,)): float(module.p)
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.dropout._DropoutNd)
    }
    try:
        with torch.no_grad():
            _, calls = calls_of(model, sound_batch(subject).x)
    except ValueError:  # batch normalisation refuses a single sample
        return rates
    for call in calls:
        if call.name.endswith("dropout") and flag(call, "training", 2, True):
            rates.setdefault(call.place, float(flag(call, "p", 1, 0.5)))
    return rates
