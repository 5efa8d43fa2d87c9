"""A loss that does not fit the task, or does not see what is right."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from firstfault.check import Judgement, check, passed, skipped
from firstfault.checks.training._performance_gap import harmed
from firstfault.checks.training._synthetic_outputs import SAME, Answers, answers, losses_of
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.subject import Subject
from firstfault.training.losses import are_distributions
from firstfault.training.recipe import Recipe

DISTANCES = frozenset(
    {"MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"}
)
ONE_OF = frozenset({"CrossEntropyLoss", "NLLLoss", "cross_entropy", "nll_loss"})
SHARES = frozenset({"BCELoss", "BCEWithLogitsLoss", "binary_cross_entropy", "binary_cross_entropy_with_logits"})
OF_SHARES = 0.92
"""The weight where a training learnt nothing from squared errors of a softmax: what it learns from is known then."""
LEVEL = 1.2  # squared errors grow by 1.02 there, absolute ones by 1.01, and cross-entropy by 2
SEEN = 64  # rows that a loss is asked about


@check(layer=Layer.TRAINING, needs={"recipe"}, detects={"wrong_loss": 0.7})
def wrong_loss(subject: Subject, *, same: float = SAME, several: int = 3) -> Iterator[Judgement]:
    """Find a loss that does not fit the task by its kind, or that does not tell right outputs from wrong ones.

    Measures: the kind of a loss of torch, known by its name; the loss of made-up outputs, right and wrong ones, and its
        slope at wrong ones. Of a loop of the user's own, the kinds of the losses of torch that it calls.
    Fails when: the loss measures a distance where the task is to choose; chooses one class where the task is a number
        or several labels; is binary cross-entropy of numbers outside 0–1; is within `same` of equal for right and wrong
        outputs; or has no slope at wrong outputs, or none for a class of at least `several` of the rows asked about; or
        is bounded where probabilities are wrong, as squared errors written by hand, and the training ends worse than a
        simple model.
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
    elif _levels_off(subject) and harmed(subject):
        yield Judgement(
            Status.FAIL,
            "the loss is as high for a share of 1 % as for one of 0.01 % of the true class: it has next to no slope "
            "where probabilities are wrong",
            where=Place.setting("training.loss"),
            faults={"wrong_loss": OF_SHARES},
            fix=f"use {_fitting(recipe.task)}, on outputs without the softmax",
        )
    elif recipe.training.fit is not None:
        yield (
            passed(f"the losses of the loop fit the task: {', '.join(sorted(names))}")
            if names
            else skipped("the user's loop calls no loss of torch")
        )
    else:
        yield _seeing(subject, same, several)


def _levels_off(subject: Subject) -> bool:
    """Whether a loss of the user's own, given probabilities of classes, is bounded where they are wrong.

    Cross-entropy doubles from a share of 1 % of the true class to one of 0.01 %; squared errors stay.
    """
    recipe = subject.recipe
    if recipe.task != "classification" or recipe.training.fit is not None or recipe.training.loss is None:
        return False
    try:
        outputs, y = subject.outputs, recipe.train.y[:SEEN]
        if outputs.ndim != 2 or outputs.shape[1] < 2 or y.ndim != 1 or not are_distributions(outputs):
            return False
        wrong = nn.functional.one_hot((y + 1) % outputs.shape[1], outputs.shape[1]).float()
        true = nn.functional.one_hot(y, outputs.shape[1]).float()
        slight, least = (float(recipe.loss((1 - share) * wrong + share * true, y)) for share in (1e-2, 1e-4))
    except Exception:  # a model or a loss that raises is told where it is examined
        return False
    return 0 < least < LEVEL * slight


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
    losses = losses_of(subject.recipe, made) if made is not None else None
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
