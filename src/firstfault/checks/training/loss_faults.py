"""Faults of the loss: one that does not see what is right, one that is summed, one that rewards mistakes."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import nn

from firstfault.check import Judgement, check, passed, skipped
from firstfault.checks.training._first_steps import FirstSteps, first_steps, summed_in_fit
from firstfault.checks.training._performance_gap import harmed
from firstfault.checks.training._synthetic_outputs import Answers, answers
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.baselines import baselines
from firstfault.subject.subject import Subject
from firstfault.training.losses import are_distributions
from firstfault.training.recipe import Recipe

DISTANCES = frozenset(
    {"MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"}
)
ONE_OF = frozenset({"CrossEntropyLoss", "NLLLoss", "cross_entropy", "nll_loss"})
SHARES = frozenset({"BCELoss", "BCEWithLogitsLoss", "binary_cross_entropy", "binary_cross_entropy_with_logits"})
SAME = 1e-6  # of a loss, in float32: its rounding (1.2e-7) with a margin for sums
OF_SHARES = 0.92
"""The weight where a training learnt nothing from squared errors of a softmax: what it learns from is known then."""
TINY = 1e-12  # a loss of which no ratio can be taken


@check(layer=Layer.TRAINING, needs={"recipe"}, detects={"wrong_loss": 0.7})
def wrong_loss(subject: Subject, *, same: float = SAME, several: int = 3) -> Iterator[Judgement]:
    """Find a loss that does not fit the task by its kind, or that does not tell right outputs from wrong ones.

    Measures: the kind of a loss of torch, known by its name; the loss of made-up outputs, right and wrong ones, and its
        slope at wrong ones. Of a loop of the user's own, the kinds of the losses of torch that it calls.
    Fails when: the loss measures a distance where the task is to choose; chooses one class where the task is a number
        or several labels; is binary cross-entropy of numbers outside 0–1; is within `same` of equal for right and wrong
        outputs; or has no slope at wrong outputs, or none for a class of at least `several` of the rows asked about.
    Warns when: a loop of the user's own, or a watched one, calls a loss of an unfit kind, and neither breaks nor ends
        worse than a simple model.
    Source: Humbatova et al. 2020, wrong loss function; TheDeepChecker; benchmarks/localise.py, fault wrong_loss. `same`
        is rounding; a class of fewer than `several` rows may have its slope elsewhere.
    """
    recipe = subject.recipe
    names = _names(subject)
    misfit = _misfit(names, recipe)
    if misfit is not None:
        reason, weight = misfit
        bad = harmed(subject)
        declared = recipe.training.fit is None and Subject.capture not in subject.memos
        serious = declared or bad
        if bad and recipe.task == "classification" and names & DISTANCES and _gives_shares(subject):
            reason, weight = f"{reason}, and has next to no slope where probabilities are wrong", OF_SHARES
        yield Judgement(
            Status.FAIL if serious else Status.WARN,
            reason,
            where=Place.setting("training.loss" if recipe.training.fit is None else "training.fit"),
            faults={"wrong_loss": weight},
            fix=f"use {_fitting(recipe.task)}",
        )
    elif recipe.training.fit is not None:
        yield (
            passed(f"the losses of the loop fit the task: {', '.join(sorted(names))}")
            if names
            else skipped("the user's loop calls no loss of torch")
        )
    else:
        yield _seeing(subject, same, several)


def _gives_shares(subject: Subject) -> bool:
    """Whether the model, or what lies between it and its loss, gives probabilities of the classes."""
    capture = subject.made(Subject.capture)
    between = capture is not None and capture.loss_name.endswith(" of softmax")
    return between or are_distributions(subject.outputs)


def _names(subject: Subject) -> frozenset[str]:
    """The names of the losses: the declared one, or those that were called in the user's loop."""
    recipe = subject.recipe
    if recipe.training.fit is not None:
        return frozenset(getattr(getattr(subject.trained, "record", None), "losses", ()))
    capture = subject.made(Subject.capture)
    if capture is not None:
        return frozenset({capture.loss_name.partition(" of ")[0]})
    loss = getattr(recipe.training.loss, "func", recipe.training.loss)
    return frozenset({getattr(loss, "__name__", type(loss).__name__)}) if loss is not None else frozenset()


def _misfit(names: frozenset[str], recipe: Recipe) -> tuple[str, float] | None:
    task, shown = recipe.task, ", ".join(sorted(names))
    if task == "regression":
        if names & ONE_OF and not names & (DISTANCES | SHARES):
            return f"{shown} chooses a class, but the task is regression", 0.7
        low, high = (float(edge) for edge in recipe.train.y.aminmax())
        if names & SHARES and not names & DISTANCES and (low < 0 or high > 1):
            return f"{shown} takes targets from 0 to 1, but they reach from {low:.3g} to {high:.3g}", 0.92
        return None
    if names & DISTANCES and not names & (ONE_OF | SHARES):
        return f"{shown} measures a distance, but the task is {task}", 0.7
    if task == "multilabel" and names & ONE_OF and not names & SHARES:
        return f"{shown} lets the labels compete, but several of them can be true", 0.7
    return None


def _fitting(task: str) -> str:
    return {"regression": "MSELoss", "multilabel": "BCEWithLogitsLoss"}.get(task, "CrossEntropyLoss")


def _seeing(subject: Subject, same: float, several: int) -> Judgement:
    made = answers(subject)
    losses = _losses(subject.recipe, made) if made is not None else None
    if made is None or losses is None:
        return skipped("the loss takes no made-up outputs")
    right, scattered, wrong = losses
    fix = f"compute it of the outputs and the labels of the same samples; {_fitting(subject.recipe.task)} fits the task"
    faults = {"wrong_loss": 0.92}
    close = same * max(1.0, abs(right))
    if abs(right - scattered) <= close and abs(right - wrong) <= close:
        return Judgement(
            Status.FAIL,
            f"the loss is {right:.3g} for right outputs and for wrong ones: it does not see what is right",
            value=right,
            threshold=wrong,
            where=Place.setting("training.loss"),
            faults=faults,
            fix=fix,
        )
    slope = _slope(subject.recipe, made)
    if slope is not None and not slope.any():
        return Judgement(
            Status.FAIL,
            "the loss has no slope at wrong outputs: nothing can be learnt from it",
            value=0.0,
            where=Place.setting("training.loss"),
            faults=faults,
            fix=fix,
        )
    unseen = _unseen_classes(subject, slope, made.y, several)
    if unseen:
        return Judgement(
            Status.FAIL,
            f"the loss has no slope at wrong outputs for {', '.join(unseen)}: nothing can be learnt of these classes",
            value=len(unseen),
            threshold=0,
            where=Place.setting("training.loss"),
            faults={"wrong_loss": 0.8},
            fix="give every class a weight above 0, and ignore none that is scored",
        )
    return passed(f"right outputs cost {right:.3g}, wrong ones {wrong:.3g}", value=right)


def _losses(recipe: Recipe, made: Answers) -> tuple[float, float, float] | None:
    """The loss of right, scattered and wrong outputs; None where the loss takes none of them."""
    try:
        with torch.no_grad():
            right, scattered, wrong = (
                float(recipe.loss(outputs.clone(), made.y)) for outputs in (made.right, made.scattered, made.wrong)
            )
    except Exception:  # the user's loss wants other outputs than these
        return None
    return (right, scattered, wrong) if all(value == value for value in (right, scattered, wrong)) else None


def _slope(recipe: Recipe, made: Answers) -> torch.Tensor | None:
    """The gradient of the loss at wrong outputs; None where it can't be taken."""
    outputs = made.wrong.clone().requires_grad_()
    try:
        loss = recipe.loss(outputs, made.y)
        slope = torch.autograd.grad(loss, outputs, allow_unused=True)[0] if loss.requires_grad else None
    except Exception:  # the user's loss wants other outputs than these
        return None
    return torch.zeros_like(outputs) if slope is None else slope


def _unseen_classes(subject: Subject, slope: torch.Tensor | None, y: torch.Tensor, several: int) -> list[str]:
    """The classes of several rows none of which has a slope."""
    if slope is None or subject.recipe.task != "classification" or y.ndim != 1:
        return []
    still = ~slope.reshape(len(y), -1).any(1)
    return [
        subject.masked(str(subject.classes[number]))
        for number in sorted(set(y.tolist()))
        if int((y == number).sum()) >= several and bool(still[y == number].all())
    ]


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
    losses = _losses(subject.recipe, made) if made is not None else None
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
