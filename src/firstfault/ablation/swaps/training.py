"""Known-good training: other step sizes, optimizers, lengths, losses and orders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn

from firstfault.ablation.swap import Size, swap
from firstfault.ablation.sweeps.lr_finder import suggested_rate
from firstfault.errors import Missing
from firstfault.subject.replay import looped, replayed
from firstfault.subject.subject import Subject
from firstfault.training.recipe import Recipe, default_loss

USUAL_RATES = {
    torch.optim.SGD: 0.05,
    torch.optim.Adagrad: 0.01,
    torch.optim.Adam: 1e-3,
    torch.optim.AdamW: 1e-3,
    torch.optim.NAdam: 1e-3,
    torch.optim.RAdam: 1e-3,
    torch.optim.RMSprop: 1e-3,
}
"""Rates at which small networks on standardised inputs train; Adam's and its kin's are PyTorch's defaults."""

ADAMS = (torch.optim.Adam, torch.optim.AdamW, torch.optim.NAdam, torch.optim.RAdam)
FEW_EPOCHS = 2
ABSURD = 100.0
"""How many times a rate is off the usual one where no optimizer is to be blamed before it."""


def scaled_rate(make: Callable[..., Any] | None, factor: float) -> Callable[..., Any]:
    """An optimizer factory like `make`, with every learning rate multiplied by `factor`."""

    def build(parameters: Any) -> Any:
        optimizer = (make or torch.optim.Adam)(parameters)
        for group in optimizer.param_groups:
            group["lr"] *= factor
        return optimizer

    return build


def _rate(subject: Subject, factor: float) -> Recipe:
    recipe = looped(subject)
    return recipe.with_training(optimizer=scaled_rate(recipe.training.optimizer, factor))


@swap(change="learning rate ÷ 10", undoes=("learning_rate_too_high",), size=Size.SETTING, slot="optimizer")
def lower_rate(subject: Subject) -> Recipe:
    """A tenth of the learning rate."""
    return _rate(subject, 0.1)


@swap(change="learning rate ÷ 100", undoes=("learning_rate_too_high",), size=Size.SETTING, slot="optimizer")
def much_lower_rate(subject: Subject) -> Recipe:
    """A hundredth of the learning rate."""
    return _rate(subject, 0.01)


@swap(change="learning rate ÷ 1000", undoes=("learning_rate_too_high",), size=Size.SETTING, slot="optimizer")
def far_lower_rate(subject: Subject) -> Recipe:
    """A thousandth of the learning rate."""
    return _rate(subject, 0.001)


def _at_rate(recipe: Recipe, rate: float) -> Recipe:
    def build(parameters: Any) -> Any:
        built = (recipe.training.optimizer or torch.optim.Adam)(parameters)
        for group in built.param_groups:
            group["lr"] = rate
        return built

    return recipe.with_training(optimizer=build)


def _own_and_usual(subject: Subject, recipe: Recipe) -> tuple[Any, float, float | None]:
    """The optimizer of a recipe, its learning rate, and the one at which its kind usually works."""
    optimizer = (recipe.training.optimizer or torch.optim.Adam)(subject.fresh_model().parameters())
    usual = next((rate for kind, rate in USUAL_RATES.items() if isinstance(optimizer, kind)), None)
    return optimizer, float(optimizer.param_groups[0]["lr"]), usual


def of_the_rate(subject: Subject) -> str:
    """Why Adam at its usual rate would be a repair of the learning rate, and no evidence against the optimizer; empty where it would be."""
    optimizer, rate, usual = _own_and_usual(subject, looped(subject))
    if isinstance(optimizer, ADAMS):
        return f"{type(optimizer).__name__} is of Adam's kind: only its rate differs"
    if usual is not None and not usual / ABSURD < rate < usual * ABSURD:
        return f"the learning rate of {rate:.1g} is far from the usual {usual:.1g} of {type(optimizer).__name__}: it is to be repaired first"
    return ""


def _usual_rate(subject: Subject, *, below: bool) -> Recipe:
    """The recipe at its optimizer's usual rate, where the target's is at least 3 × below (or above) it."""
    recipe = looped(subject)
    _, rate, usual = _own_and_usual(subject, recipe)
    if usual is None or not (rate * 3 < usual if below else rate > usual * 3):
        raise Missing("the learning rate is near the usual one, or there is no usual one")
    return _at_rate(recipe, usual)


@swap(
    change="the optimizer's usual learning rate, down",
    undoes=("learning_rate_too_high",),
    size=Size.SETTING,
    slot="optimizer",
)
def usual_rate_from_above(subject: Subject) -> Recipe:
    """The rate with which this kind of optimizer usually works, for one that is far above it."""
    return _usual_rate(subject, below=False)


@swap(change="learning rate × 10", undoes=("learning_rate_too_low",), size=Size.SETTING, slot="optimizer")
def higher_rate(subject: Subject) -> Recipe:
    """Ten times the learning rate."""
    return _rate(subject, 10.0)


@swap(change="learning rate × 100", undoes=("learning_rate_too_low",), size=Size.SETTING, slot="optimizer")
def much_higher_rate(subject: Subject) -> Recipe:
    """A hundred times the learning rate."""
    return _rate(subject, 100.0)


@swap(
    change="the optimizer's usual learning rate, up",
    undoes=("learning_rate_too_low",),
    size=Size.SETTING,
    slot="optimizer",
)
def usual_rate_from_below(subject: Subject) -> Recipe:
    """The rate with which this kind of optimizer usually works, for one that is far below it."""
    return _usual_rate(subject, below=True)


def _range_tested(subject: Subject, *, below: bool) -> Recipe:
    recipe = looped(subject)
    own, best = suggested_rate(recipe)
    if not (best > 3 * own if below else best < own / 3):
        raise Missing(f"a range test suggests {best:.1g}, which is no {'higher' if below else 'lower'} rate")
    return _at_rate(recipe, best)


@swap(
    change="the learning rate of a range test, down",
    undoes=("learning_rate_too_high",),
    size=Size.SETTING,
    slot="optimizer",
)
def range_test_from_above(subject: Subject) -> Recipe:
    """The rate that a range test suggests, where it is at least 3 × below the target's (Smith 2017)."""
    return _range_tested(subject, below=False)


@swap(
    change="the learning rate of a range test, up",
    undoes=("learning_rate_too_low",),
    size=Size.SETTING,
    slot="optimizer",
)
def range_test_from_below(subject: Subject) -> Recipe:
    """The rate that a range test suggests, where it is at least 3 × above the target's (Smith 2017)."""
    return _range_tested(subject, below=True)


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


@swap(change="Adam at 0.001", undoes=("wrong_optimizer",), size=Size.SETTING, slot="optimizer")
def adam(subject: Subject) -> Recipe:
    """Adam with its default learning rate."""
    return looped(subject).with_training(optimizer=partial(torch.optim.Adam, lr=1e-3))


@swap(change="batches of 32", undoes=("batch_size_too_large", "batch_size_too_small"), size=Size.SETTING)
def batches_of_32(subject: Subject) -> Recipe:
    """Batches of 32 samples."""
    if subject.recipe.training.batch_size == 32:
        raise Missing("the batch size is 32 already")
    return looped(subject).with_training(batch_size=32)


def _plain(loss: Any) -> bool:
    """Whether a loss of torch is a mean over samples, without weights and smoothing."""
    weights = [getattr(loss, name, None) for name in ("weight", "pos_weight")]
    return (
        getattr(loss, "reduction", "mean") == "mean"
        and weights == [None, None]
        and not getattr(loss, "label_smoothing", 0.0)
    )


@swap(
    change="the loss that fits the task",
    undoes=("wrong_loss", "flipped_loss_sign", "wrong_loss_reduction"),
    slot="loss",
)
def fitting_loss(subject: Subject) -> Recipe:
    """The usual loss of the task on raw outputs."""
    recipe = looped(subject)
    fitting = default_loss(recipe.task)
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
    return subject.recipe.with_training(shuffle=True)  # type: ignore[no-any-return]


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

    def build(parameters: Any) -> Any:
        optimizer = (recipe.training.optimizer or torch.optim.Adam)(parameters)
        for group in optimizer.param_groups:
            group["weight_decay"] = 0.0
        return optimizer

    return recipe.with_training(optimizer=build, penalty=None)


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
    """The user's `fit` replaced by a loop that is known to be right, and minimises; loss, optimizer, rate and epochs stay."""
    if subject.recipe.training.fit is None:
        raise Missing("the loop is firstfault's own")
    recipe = replayed(subject)

    def build(parameters: Any) -> Any:
        optimizer = (recipe.training.optimizer or torch.optim.Adam)(parameters)
        for group in optimizer.param_groups:
            if group.get("maximize"):
                group["maximize"] = False
        return optimizer

    return recipe.with_training(optimizer=build)


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
        optimizer=partial(torch.optim.Adam, lr=1e-3),
        loss=recipe.training.loss or default_loss(recipe.task),
    )
    return replace(recipe, training=settings)
