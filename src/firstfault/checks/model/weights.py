"""Is the start sound? Initial weights, the loss they give, and the units they leave alive."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from firstfault.check import Judgement, check, judge, passed, skipped
from firstfault.finding import Layer, Status
from firstfault.recipe import outputs_of

MATRICES = (nn.Linear, nn.modules.conv._ConvNd)


def weight_layers(model: nn.Module) -> list[tuple[str, Any]]:
    """The linear and convolutional layers, by name."""
    return [(name, module) for name, module in model.named_modules() if isinstance(module, MATRICES)]


@check(layer=Layer.MODEL, needs={"model", "batch"}, detects={"constant_init": 0.95})
def constant_init(subject: Any) -> Iterator[Judgement]:
    """Find layers whose units all start with the same weights, so that they learn the same.

    The last layer of a network may start at zero, as may the last of a residual branch; a fault is a
    constant matrix in front of another layer with trainable weights, with several equal units.

    Source: Neuralint, asymmetric initialisation; Goodfellow et al. 2016, 8.4.
    """
    subject.get("outputs")                       # lazily made layers get their weights in the first pass
    layers = weight_layers(subject.model)
    constant = [
        name for name, module in layers
        if isinstance(module.weight, torch.Tensor) and len(module.weight) > 1
        and bool((module.weight.flatten(1) == module.weight.flatten(1)[:1]).all())
        and float(module.weight.float().std()) < 1e-8
    ]
    hidden = [name for name in constant if name != layers[-1][0]]
    every = bool(layers) and len(constant) == len(layers)
    ones = [name for name in constant if float(dict(layers)[name].weight.flatten()[0]) != 0]
    if hidden and (every or ones or len(hidden) > 1):
        yield Judgement(
            Status.FAIL, f"all units of {len(hidden)} layers start with the same weights", value=len(hidden), threshold=0,
            where=", ".join(hidden[:5]), fix="use the default initialisation",
        )
        return
    yield passed(f"the units of {len(layers)} layers start apart")


@check(layer=Layer.MODEL, needs={"outputs", "batch"}, detects={"exploding_init": 0.75})
def loss_at_start(subject: Any, *, times: float = 10.0, gain: float = 10.0) -> Iterator[Judgement]:
    """Judge the loss before training against that of a constant answer: ln K for K classes.

    `value` is their ratio, a fault above `times` when the weights are also `gain` times wider than the
    He initialisation: inputs on a wild scale give a high loss too, and are not the model's fault.

    Source: Karpathy 2019, "verify loss at init"; SageMaker Debugger, PoorWeightInitialization.
    """
    widths = [
        float(module.weight.detach().float().std()) / math.sqrt(2 / max(1, module.weight[0].numel()))
        for _, module in weight_layers(subject.model)
    ]
    widest = max(widths, default=0.0)
    recipe = subject.recipe
    if recipe.task != "classification" or recipe.classes < 2 or recipe.training.fit is not None:
        value, text = 0.0, "no loss to expect"
    else:
        try:
            value = float(recipe.loss(subject.outputs, subject.batch.y)) / math.log(recipe.classes)
        except (RuntimeError, ValueError, IndexError):
            yield skipped("the loss could not be computed on the first outputs")
            return
        text = f"the loss before training is {value:.1f} × ln {recipe.classes}"
    failed = widest > gain and (value > times or recipe.task != "classification")
    if failed:
        yield Judgement(
            Status.FAIL, f"{text}, and weights are {widest:.0f} times as wide as the He initialisation", value=value,
            threshold=times, where="initialisation", fix="use the default initialisation",
        )
        return
    yield judge(value, above=times, otherwise=Status.WARN, message=text, faults={}, fix="look at the scale of inputs and weights")


@check(layer=Layer.MODEL, needs={"batch", "outputs"}, detects={"dead_relu": 0.8})
def dead_relu(subject: Any, *, inactive_share: float = 0.5, activity: float = 0.01) -> Iterator[Judgement]:
    """Find ReLU layers in which most units almost never fire, before training.

    One forward pass over the batch. A unit is dead when it is positive for less than `activity` of the
    samples; `value` is the dead share of the worst layer's units, 0–1.

    Source: Amazon SageMaker Debugger, DeadRelu (1 % / 50 %).
    """
    shares = dead_shares(subject.fresh_model().eval(), subject.batch.x, activity)
    if not shares:
        yield skipped("the model has no ReLU module")
        return
    worst = max(shares, key=lambda name: shares[name])
    yield judge(
        shares[worst], above=inactive_share, where=worst, message=f"{shares[worst]:.0%} of the units in {worst} are dead",
        fix="use He initialisation, a smaller bias, or a leaky ReLU",
    )


def dead_shares(model: nn.Module, x: torch.Tensor, activity: float) -> dict[str, float]:
    """The dead share of the units of each ReLU module, by name."""
    shares: dict[str, float] = {}

    def hook(name: str) -> Any:
        def look(module: nn.Module, inputs: Any, outputs: torch.Tensor) -> None:
            fires = (outputs > 0).float()
            axes = [axis for axis in range(outputs.ndim) if axis != (1 if outputs.ndim in (2, 4) else outputs.ndim - 1)]
            shares[name] = float((fires.mean(axes) < activity).float().mean())

        return look

    for name, module in model.named_modules():
        if isinstance(module, nn.ReLU | nn.ReLU6):
            module.register_forward_hook(hook(name))
    with torch.no_grad():
        model(x)
    return shares


@check(layer=Layer.MODEL, needs={"batch", "outputs"}, detects={"missing_nonlinearity": 0.9})
def missing_nonlinearity(subject: Any, *, tolerance: float = 1e-4) -> Iterator[Judgement]:
    """Find networks of several layers that are affine: f(a + b) = f(a) + f(b) − f(0).

    `value` is the relative deviation from that identity, in eval mode. One single layer is a linear model on purpose.

    Source: Neuralint, missing activation; superposition test.
    """
    x = subject.batch.x
    if not x.is_floating_point() or len(weight_layers(subject.model)) < 2 or len(x) < 2:
        yield skipped("tokens, or fewer than two weight layers")
        return
    spread = x.std().clamp_min(1e-3)
    generator = torch.Generator().manual_seed(subject.seed)
    a, b = (torch.randn(x.shape, generator=generator).to(x.device) * spread * 5 for _ in range(2))
    with torch.no_grad():
        whole, first, second, zero = (outputs_of(subject.model(value)) for value in (a + b, a, b, torch.zeros_like(x)))
    deviation = float((whole - first - second + zero).abs().max() / (whole - zero).abs().max().clamp_min(1e-12))
    constant = float((whole - zero).abs().max()) == 0
    yield judge(
        1.0 if constant else deviation, below=tolerance, where="layers",
        message=f"{len(weight_layers(subject.model))} weight layers deviate from one linear map by {deviation:.1e}",
        fix="put an activation between the layers",
    )


@check(layer=Layer.MODEL, needs={"batch", "outputs"}, detects={"numerically_unstable": 0.92})
def numerically_unstable(subject: Any) -> Iterator[Judgement]:
    """Find NaN or infinity in the outputs of finite inputs, and name the module in which they are born."""
    x = subject.batch.x
    if x.is_floating_point() and not torch.isfinite(x).all():
        yield skipped("the inputs are not finite themselves")
        return
    if torch.isfinite(subject.outputs).all():
        yield passed("finite inputs give finite outputs")
        return
    yield Judgement(
        Status.FAIL, "finite inputs give outputs that are not finite", where="forward",
        fix="clamp before log and division, or use the stable form of the operation",
    )


@check(layer=Layer.MODEL, needs={"model"}, detects={"excessive_dropout": 0.75})
def excessive_dropout(subject: Any, *, highest: float = 0.8) -> Iterator[Judgement]:
    """Find dropout that removes nearly everything; `value` is the highest rate.

    Source: Srivastava et al. 2014: 0.5 in hidden layers.
    """
    rates = {
        name: float(module.p) for name, module in subject.model.named_modules()
        if isinstance(module, nn.modules.dropout._DropoutNd)
    }
    if not rates:
        yield skipped("the model has no dropout")
        return
    worst = max(rates, key=lambda name: rates[name])
    yield judge(
        rates[worst], above=highest, where=worst, message=f"dropout in {worst} removes {rates[worst]:.0%}",
        fix="lower the rate to 0.1–0.5",
    )


@check(layer=Layer.MODEL, needs={"model"}, detects={"norm_statistics_wrong": 0.8})
def norm_statistics_wrong(subject: Any) -> Iterator[Judgement]:
    """Find batch normalisation that never updates its statistics, or that sees batches of one."""
    norms = [
        (name, module) for name, module in subject.model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
    ]
    still = [name for name, module in norms if module.momentum == 0.0]
    if not norms:
        yield skipped("the model has no batch normalisation")
    elif still:
        yield Judgement(
            Status.FAIL, f"{len(still)} batch normalisations have momentum 0, and keep their first statistics",
            where=", ".join(still[:5]), fix="use the default momentum of 0.1",
        )
    elif subject.recipe.training.batch_size == 1 and subject.recipe.training.fit is None:
        yield Judgement(Status.FAIL, "batch normalisation over batches of 1", where=norms[0][0], fix="use larger batches, or LayerNorm")
    else:
        yield passed(f"{len(norms)} batch normalisations update their statistics")
