"""A loss that is summed over its batch, and one that rewards mistakes: its size and its sign."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import nn

from firstfault.check import Judgement, check, passed, skipped
from firstfault.checks.training._first_steps import FirstSteps, first_steps, summed_in_fit
from firstfault.checks.training._performance_gap import harmed
from firstfault.checks.training._synthetic_outputs import SAME, answers, losses_of
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.baselines import baselines
from firstfault.subject.subject import Subject

TINY = 1e-12  # a loss of which no ratio can be taken


@check(layer=Layer.TRAINING, needs={"recipe", "record"}, detects={"wrong_loss_reduction": 0.8})
def wrong_loss_reduction(subject: Subject, *, apart: float = 0.02, apart_in_fit: float = 0.3) -> Iterator[Judgement]:
    """Find a loss that is summed over the batch, so that its gradient grows with the batch size.

    Measures: the loss of a batch given twice over that of the batch: 1 for a mean, 2 for a sum. In the user's own loop
        the first step is taken with either batch.
    Fails when: the ratio is no further than `apart` from 2, in the user's own loop no further than `apart_in_fit`.
    Warns when: it is so in a loop of the user's own, or a watched one, that neither breaks nor ends worse than a simple
        model.
    Source: Humbatova et al. 2020, wrong loss function; torch.nn, the argument reduction. Both bounds lie well within
        the distance of 1 and 2; that for a loop leaves room for dropout and penalties.
    """
    recipe = subject.recipe
    fit = recipe.training.fit is not None
    ratio = summed_in_fit(subject) if fit else _doubling(subject)
    if ratio is None:
        yield skipped("the loss of a batch can't be compared with that of the batch given twice")
        return
    if abs(ratio - 2) > (apart_in_fit if fit else apart):
        yield passed(f"a batch given twice costs {ratio:.2f} times as much", value=ratio)
        return
    bad, own = harmed(subject), fit or Subject.capture in subject.memos
    yield Judgement(
        Status.WARN if own and not bad else Status.FAIL,
        "the loss is summed over the batch, so that the step grows with the batch size",
        value=ratio,
        threshold=2,
        where=Place.setting("training.fit" if fit else "training.loss"),
        faults={"wrong_loss_reduction": 0.92 if bad else 0.8},
        fix="use reduction='mean'",
    )


def _doubling(subject: Subject) -> float | None:
    recipe = subject.recipe
    if getattr(recipe.training.loss, "reduction", None) == "sum":
        return 2.0
    made = answers(subject)
    if made is None:
        return None
    try:
        with torch.no_grad():
            once = float(recipe.loss(made.wrong.clone(), made.y))
            twice = float(recipe.loss(torch.cat([made.wrong, made.wrong]), torch.cat([made.y, made.y])))
    except Exception:  # the user's loss wants other outputs than these
        return None
    return twice / once if abs(once) > TINY and twice == twice else None


@check(layer=Layer.TRAINING, needs={"trained"}, detects={"flipped_loss_sign": 0.9})
def flipped_loss_sign(subject: Subject, *, same: float = SAME) -> Iterator[Judgement]:
    """Find a loss that is negated, or an optimizer that maximises one that is not.

    Measures: the loss of made-up right outputs, beside that of wrong ones. In the user's own loop, and where the loss
        takes no such outputs: where the training loss began and ended.
    Fails when: wrong outputs cost less than right ones by more than `same`, or cost more by as much and the optimizer
        maximises. By the training loss: it ends below zero and below its start by more than the start's size, or rises
        under `maximize`, and the model is worse than a constant answer.
    Not a fault when: a negated loss is maximised.
    Source: Humbatova et al. 2020, wrong sign of the loss; benchmarks/localise.py, fault flipped_loss_sign. `same` is
        rounding.
    """
    if subject.recipe.training.fit is not None:
        yield _sign_in_fit(subject)
        return
    made = answers(subject)
    losses = losses_of(subject.recipe, made) if made is not None else None
    if losses is None:
        yield _sign_in_fit(subject)
        return
    right, scattered, wrong = losses
    prefers_wrong, prefers_right = min(scattered, wrong) < right - same, min(scattered, wrong) > right + same
    maximised = _maximises(subject)
    if (prefers_wrong and not maximised) or (prefers_right and maximised):
        told = "and the optimizer maximises it" if maximised else "the loss rewards mistakes"
        yield Judgement(
            Status.FAIL,
            f"right outputs cost {right:.3g}, wrong ones {wrong:.3g}: {told}",
            value=right,
            threshold=wrong,
            where=Place.setting("training.optimizer" if maximised else "training.loss"),
            fix="leave maximize out" if maximised else "minimise the loss: remove the minus sign",
        )
        return
    yield passed(
        f"right outputs cost {right:.3g}, wrong ones {wrong:.3g}{', and the optimizer maximises' if maximised else ''}"
    )


def _maximises(subject: Subject) -> bool:
    """Whether the declared optimizer maximises."""
    make = subject.recipe.training.optimizer
    try:
        groups = make([nn.Parameter(torch.zeros(1))]).param_groups if make is not None else []
    except Exception:  # the user's factory wants its own model's parameters
        return False
    return any(group.get("maximize") for group in groups)


def _sign_in_fit(subject: Subject) -> Judgement:
    trained = subject.trained
    if trained.record is None or trained.record.steps < 10 or trained.crash is not None:
        return skipped("fewer than 10 steps of the user's loop were seen")
    start, end = trained.record.loss_ends()
    constant = baselines(subject).prior
    went = f"the loss went from {start:.3g} to {end:.3g}, and {trained.metric} ended at {trained.score:.3g}"
    begun: FirstSteps | None = first_steps(subject)
    maximised = begun is not None and begun.maximised and end > start
    if (end < min(start, 0.0) - abs(start) or maximised) and not (math.isnan(constant) or trained.score >= constant):
        return Judgement(
            Status.FAIL,
            f"{went}, below {constant:.3g} of a constant answer: "
            f"{'the optimizer maximises' if maximised else 'the loss rewards mistakes'}",
            value=end,
            threshold=0.0,
            where=Place.setting("training.loss" if subject.recipe.training.fit is None else "training.fit"),
            fix="leave maximize out" if maximised else "minimise the loss: remove the minus sign",
        )
    return passed(went)
