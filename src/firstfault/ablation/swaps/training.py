"""Known-good training: other step sizes, optimizers, lengths, losses and orders."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from firstfault.ablation.swap import Size, swap
from firstfault.ablation.sweeps.lr_finder import suggested_rate
from firstfault.errors import Missing
from firstfault.probe.interventions.rates import ADAMS, ADAMS_RATE
from firstfault.subject.replay import looped, replayed
from firstfault.subject.subject import Subject
from firstfault.training.losses import OF_NUMBERS, are_distributions
from firstfault.training.recipe import Recipe, default_loss

USUAL_RATES = {
    torch.optim.SGD: 0.05,
    torch.optim.Adagrad: 0.01,
    torch.optim.RMSprop: 1e-3,
    **dict.fromkeys(ADAMS, ADAMS_RATE),
}
"""Rates at which small networks on standardised inputs train: a choice of ours but for Adam and its kin."""
DISTANCES = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss)
FEW_EPOCHS = 2
"""Epochs of which four times as many, the other swap's, are no more than eight."""
FAR = 3.0
"""How many times another rate must be off the target's own to be worth a training."""
ABSURD = 100.0
"""How many times a rate is off the usual one where no optimizer is to be blamed before it."""


def _changed(
    make: Callable[..., Optimizer] | None, change: Callable[[dict[str, Any]], None]
) -> Callable[..., Optimizer]:
    """An optimizer factory like `make` (Adam where there is none), each of whose parameter groups is changed."""

    def build(parameters: Iterable[nn.Parameter]) -> Optimizer:
        optimizer: Optimizer = (make or torch.optim.Adam)(parameters)
        for group in optimizer.param_groups:
            change(group)
        return optimizer

    return build


def _with_rate(recipe: Recipe, rate: Callable[[float], float]) -> Recipe:
    """The recipe whose every learning rate is what `rate` makes of it."""
    optimizer = _changed(recipe.training.optimizer, lambda group: group.update(lr=rate(group["lr"])))
    return recipe.with_training(optimizer=optimizer)


def _own_and_usual(subject: Subject, recipe: Recipe) -> tuple[Optimizer, float, float | None]:
    """The optimizer of a recipe, its learning rate, and the one at which its kind usually works."""
    optimizer = (recipe.training.optimizer or torch.optim.Adam)(subject.fresh_model().parameters())
    usual = next((rate for kind, rate in USUAL_RATES.items() if isinstance(optimizer, kind)), None)
    return optimizer, float(optimizer.param_groups[0]["lr"]), usual


def rate_to_blame(subject: Subject) -> str:
    """Why Adam would only repair the learning rate; empty where it would be evidence against the optimizer."""
    optimizer, rate, usual = _own_and_usual(subject, looped(subject))
    if isinstance(optimizer, ADAMS):
        return f"{type(optimizer).__name__} is of Adam's kind: only its rate differs"
    if usual is not None and not usual / ABSURD < rate < usual * ABSURD:
        far = f"far from the usual {usual:.1g} of {type(optimizer).__name__}"
        return f"the learning rate of {rate:.1g} is {far}: it is to be repaired first"
    return ""


def _times(factor: float) -> Callable[[Subject], Recipe]:
    return lambda subject: _with_rate(looped(subject), lambda rate: rate * factor)


def _usual(*, below: bool) -> Callable[[Subject], Recipe]:
    """The rate at which the optimizer's kind usually works, where the target's is at least 3 × below (or above) it."""

    def apply(subject: Subject) -> Recipe:
        recipe = looped(subject)
        _, rate, usual = _own_and_usual(subject, recipe)
        if usual is None or not (rate * FAR < usual if below else rate > usual * FAR):
            raise Missing("the learning rate is near the usual one, or there is no usual one")
        return _with_rate(recipe, lambda _: usual)

    return apply


def _range_tested(*, below: bool) -> Callable[[Subject], Recipe]:
    """The rate that a range test suggests, where the target's is at least 3 × below (or above) it (Smith 2017)."""

    def apply(subject: Subject) -> Recipe:
        recipe = looped(subject)
        own, best = suggested_rate(recipe)
        if not (best > FAR * own if below else best < own / FAR):
            raise Missing(f"a range test suggests {best:.1g}, which is no {'higher' if below else 'lower'} rate")
        return _with_rate(recipe, lambda _: best)

    return apply


HIGH, LOW = "learning_rate_too_high", "learning_rate_too_low"
RATES = (
    ("lower_rate", "learning rate ÷ 10", HIGH, _times(0.1)),
    ("much_lower_rate", "learning rate ÷ 100", HIGH, _times(0.01)),
    ("far_lower_rate", "learning rate ÷ 1000", HIGH, _times(0.001)),
    ("usual_rate_from_above", "the optimizer's usual learning rate, down", HIGH, _usual(below=False)),
    ("higher_rate", "learning rate × 10", LOW, _times(10.0)),
    ("much_higher_rate", "learning rate × 100", LOW, _times(100.0)),
    ("usual_rate_from_below", "the optimizer's usual learning rate, up", LOW, _usual(below=True)),
    ("range_test_from_above", "the learning rate of a range test, down", HIGH, _range_tested(below=False)),
    ("range_test_from_below", "the learning rate of a range test, up", LOW, _range_tested(below=True)),
)
"""Other learning rates, in the order in which they are tried: the swap's name, its change, the fault, the recipe."""
for _name, _change, _fault, _apply in RATES:
    swap(change=_change, undoes=(_fault,), size=Size.SETTING, slot="optimizer", name=_name)(_apply)


@swap(change="4 × the epochs", undoes=("too_few_epochs",), size=Size.SETTING)
def longer(subject: Subject) -> Recipe:
    """Four times as many epochs."""
    recipe = looped(subject)
    return recipe.with_training(epochs=4 * recipe.training.epochs)


@swap(change="16 × the epochs", undoes=("too_few_epochs",), size=Size.SETTING)
def much_longer(subject: Subject) -> Recipe:
    """Sixteen times as many epochs, where there are 1 or 2: four times as many are few still."""
    recipe = looped(subject)
    if recipe.training.epochs > FEW_EPOCHS:
        raise Missing("four times the epochs are enough to tell")
    return recipe.with_training(epochs=16 * recipe.training.epochs)


@swap(change=f"Adam at {ADAMS_RATE}", undoes=("wrong_optimizer",), size=Size.SETTING, slot="optimizer")
def adam(subject: Subject) -> Recipe:
    """Adam with its default learning rate."""
    return looped(subject).with_training(optimizer=partial(torch.optim.Adam, lr=ADAMS_RATE))


@swap(change="batches of 32", undoes=("batch_size_too_large", "batch_size_too_small"), size=Size.SETTING)
def batches_of_32(subject: Subject) -> Recipe:
    """Batches of 32 samples."""
    if subject.recipe.training.batch_size == 32:
        raise Missing("the batch size is 32 already")
    return looped(subject).with_training(batch_size=32)


def _plain(loss: object) -> bool:
    """Whether a loss of torch is a mean over samples, without weights and smoothing."""
    weights = [getattr(loss, name, None) for name in ("weight", "pos_weight")]
    return (
        getattr(loss, "reduction", "mean") == "mean"
        and weights == [None, None]
        and not getattr(loss, "label_smoothing", 0.0)
    )


def _is_distance(subject: Subject) -> bool:
    """Whether the loss is one of numbers, as it was declared or watched."""
    watched = getattr(subject.made(Subject.capture), "loss_name", "")
    return watched.startswith(OF_NUMBERS) or isinstance(subject.training.loss, DISTANCES)


def _likelihood(shares: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return nn.functional.nll_loss(shares.clamp_min(torch.finfo(shares.dtype).tiny).log(), y)


@swap(
    change="the loss that fits the task",
    undoes=("wrong_loss", "flipped_loss_sign", "wrong_loss_reduction"),
    slot="loss",
)
def fitting_loss(subject: Subject) -> Recipe:
    """The usual loss of the task on raw outputs, or on probabilities where the model gives such."""
    recipe = looped(subject)
    fitting: Callable[..., torch.Tensor] = default_loss(recipe.task)
    if recipe.task == "classification" and _is_distance(subject) and are_distributions(subject.outputs):
        return recipe.with_training(loss=_likelihood)
    one_unit = recipe.task == "classification" and subject.outputs.ndim == 2 and subject.outputs.shape[1] == 1
    fitting = nn.BCEWithLogitsLoss() if one_unit else fitting
    if _plain(recipe.training.loss) and type(recipe.training.loss) is type(fitting):
        raise Missing("the loss fits already")
    return recipe.with_training(loss=fitting)


@swap(change="shuffled batches", undoes=("no_shuffle",), size=Size.SETTING)
def shuffled(subject: Subject) -> Recipe:
    """A new order every epoch."""
    if subject.recipe.training.shuffle or subject.recipe.training.loader is not None:
        raise Missing("the batches are shuffled already, or by the user's loader")
    return subject.recipe.with_training(shuffle=True)


@swap(change="no clipping", undoes=("gradient_clipped_away",), size=Size.SETTING)
def no_clipping(subject: Subject) -> Recipe:
    """Gradients as they are."""
    if subject.recipe.training.clip_norm is None:
        raise Missing("no gradient is clipped")
    return looped(subject).with_training(clip_norm=None)


@swap(change="no penalty and no weight decay", undoes=("over_regularised",), size=Size.SETTING)
def no_penalty(subject: Subject) -> Recipe:
    """The loss alone."""
    recipe = looped(subject)
    optimizer = _changed(recipe.training.optimizer, lambda group: group.update(weight_decay=0.0))
    return recipe.with_training(optimizer=optimizer, penalty=None)


@swap(change="a constant learning rate", undoes=("scheduler_misuse",), size=Size.SETTING)
def no_scheduler(subject: Subject) -> Recipe:
    """No scheduler; in the replay of a `fit`, the rate with which it began."""
    recipe = looped(subject)
    if recipe.training.scheduler is None:
        raise Missing("there is no scheduler")
    return recipe.with_training(scheduler=None)


@swap(
    change="the same loss and optimizer in firstfault's own loop",
    undoes=("missing_zero_grad", "parameters_not_in_optimizer", "flipped_loss_sign"),
    size=Size.PART,
    slot="loop",
    replaces_loop=True,
)
def sound_loop(subject: Subject) -> Recipe:
    """A loop that is right, and minimises, for the user's `fit`; loss, optimizer, rate and epochs stay."""
    if subject.recipe.training.fit is None:
        raise Missing("the loop is firstfault's own")
    recipe = replayed(subject)

    def minimise(group: dict[str, Any]) -> None:
        if group.get("maximize"):
            group["maximize"] = False

    return recipe.with_training(optimizer=_changed(recipe.training.optimizer, minimise))


@swap(
    change="firstfault's own loop, with Adam",
    undoes=("parameters_not_in_optimizer",),
    size=Size.PART,
    slot="loop",
    replaces_loop=True,
)
def known_good_loop(subject: Subject) -> Recipe:
    """The same model and data in a loop that is known to be right."""
    recipe = subject.recipe
    settings = replace(
        recipe.training,
        fit=None,
        optimizer=partial(torch.optim.Adam, lr=ADAMS_RATE),
        loss=recipe.training.loss or default_loss(recipe.task),
    )
    return replace(recipe, training=settings)
