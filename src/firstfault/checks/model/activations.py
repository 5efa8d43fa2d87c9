"""Are the hidden activations alive, and are there any? One forward pass of the untrained model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from firstfault.check import Judgement, check, judge, skipped
from firstfault.finding import Layer, Status
from firstfault.place import SHOWN, Place
from firstfault.subject.model_inputs import (
    all_outputs,
    answer,
    embeds,
    finite_outputs,
    ordinary_inputs,
    probe_loss,
    redrawn,
    sound_batch,
    weight_layers,
)
from firstfault.subject.subject import Subject
from firstfault.training.torch_calls import SATURATING, Call, name_of, record, softmax_axis

RECURRENT = (nn.RNNBase, nn.RNNCellBase)
FEW = 8  # rows: a healthy unit is silent on all of them once in 2⁸


@check(layer=Layer.MODEL, needs={"batch", "outputs"}, detects={"dead_relu": 0.8})
def dead_relu(subject: Subject, *, inactive_share: float = 0.5, activity: float = 0.01) -> Iterator[Judgement]:
    """Find ReLU layers in which most units almost never fire, before training.

    Measures: the share of dead units of the worst ReLU call, 0–1. A unit is dead when it is positive for less than
        `activity` of the samples `(N, …)`, of the batch and of standard normal inputs alike: inputs on a wild scale
        silence units too, and are not the model's fault.
    Fails when: the share is above `inactive_share`.
    Not a fault when: units get exactly 0, from constant weights before them.
    Source: Amazon SageMaker Debugger, DeadRelu (1 % / 50 %).
    """
    finite_outputs(subject)
    model = subject.fresh_model().eval()
    runs = [dead_shares(model, x, activity) for x in (sound_batch(subject).x, ordinary_inputs(subject))]
    shares = {place: min(share, other) for (place, share), (_, other) in zip(*runs, strict=False)}
    if not shares:
        yield skipped(f"the model has no ReLU, or one that sees fewer than {FEW} rows")
        return
    worst = max(shares, key=lambda place: shares[place])
    yield judge(
        shares[worst],
        above=inactive_share,
        where=worst,
        message=f"{shares[worst]:.0%} of the units in {worst} are dead",
        fix="use He initialisation, a smaller bias, or a leaky ReLU",
    )


def dead_shares(model: nn.Module, x: torch.Tensor, activity: float) -> list[tuple[Place, float]]:
    """By the place of each ReLU call that sees enough rows, in order, the dead share of its units."""
    with torch.no_grad():
        _, calls = record(model, x)
    found = []
    for call in calls:
        if call.name in ("relu", "relu6") and call.args[0].ndim > 1:
            convolved = call.args[0].ndim >= 4 or (call.args[0].ndim == 3 and _has_conv1d(model))
            units = call.args[0].movedim(1 if convolved else -1, -1).flatten(0, -2)
            if len(units) >= FEW:
                found.append((call.place, _dead_share(units, activity)))
    return found


def _has_conv1d(model: nn.Module) -> bool:
    return any(isinstance(module, nn.Conv1d) for module in model.modules())


def _dead_share(units: torch.Tensor, activity: float) -> float:
    silent = (units > 0).float().mean(0) < activity
    return float((silent & (units < 0).any(0)).float().mean())


@check(layer=Layer.MODEL, needs={"batch", "outputs"}, detects={"saturating_activation": 0.75})
def saturating_activation(subject: Subject, *, ratio: float = 1e-3, least: int = 4) -> Iterator[Judgement]:
    """Find deep stacks of sigmoid or tanh through which no gradient comes back, and softmax between layers.

    Measures: the gradient per weight (root mean square) of the first weight matrix over that of the last, on the batch
        or on standard normal inputs, whichever is better. Stacks of at least `least` saturating calls are looked at.
    Fails when: the ratio is below `ratio`, or a linear layer takes the result of a softmax over its units, as it is or
        after dropout: then `value` is the number of such calls.
    Source: Glorot & Bengio 2010; Amazon SageMaker Debugger, SaturatedActivation; benchmarks/localise.py, fault
        saturating_activation. The bounds are a choice of ours; tests/checks/model/test_every_fault.py holds the cases
        that they separate.
    """
    with torch.no_grad():
        _, calls = record(subject.fresh_model().eval(), sound_batch(subject).x)
    hidden = _softmax_into_linear(calls)
    if hidden:
        yield Judgement(
            Status.FAIL,
            "softmax is the activation of a hidden layer: its units compete, and their gradients are tiny",
            value=len(hidden),
            threshold=0,
            where=hidden[0],
            fix="use ReLU between the layers",
        )
        return
    stack = [call for call in calls if call.name in SATURATING]
    if len(stack) < least:
        yield skipped(f"fewer than {least} saturating activations")
        return
    value = max(_gradient_ratio(subject, x) for x in (sound_batch(subject).x, ordinary_inputs(subject)))
    yield judge(
        value,
        below=ratio,
        where=Place.part(f"{len(stack)} saturating activations"),
        message=f"the gradient of the first layer is {value:.1e} of that of the last",
        fix="use ReLU, and normalise",
    )


def _softmax_into_linear(calls: list[Call]) -> list[Place]:
    """Places of softmax calls whose result a linear layer takes as it is, or after dropout."""
    found, results = [], []
    for call in calls:
        source = call.args[0] if call.args else None
        if call.name == "softmax" and _over_units(call):
            results.append((call.place, call.result))
        elif call.name == "linear" and isinstance(source, torch.Tensor):
            found += [
                place for place, result in results if result.shape == source.shape and torch.equal(result, source)
            ]
    return found


def _over_units(call: Call) -> bool:
    return (
        isinstance(call.result, torch.Tensor)
        and call.result.shape[-1] > 1
        and softmax_axis(call) == call.result.ndim - 1
    )


def _gradient_ratio(subject: Subject, x: torch.Tensor) -> float:
    model = subject.fresh_model().eval()
    layers = [layer.weight for _, layer in weight_layers(model, x) if isinstance(layer.weight, nn.Parameter)]
    layers = [weight for weight in layers if weight.requires_grad]
    if len(layers) < 3:
        return math.inf
    with torch.enable_grad():
        total = probe_loss(all_outputs(model, x))
    found = (
        torch.autograd.grad(total, [layers[0], layers[-1]], allow_unused=True) if total.requires_grad else (None, None)
    )
    first, last = (None if grad is None else float(grad.pow(2).mean().sqrt()) for grad in found)
    return first / last if first is not None and last else math.inf


@check(layer=Layer.MODEL, needs={"batch", "outputs"}, detects={"missing_nonlinearity": 0.92})
def missing_nonlinearity(subject: Subject, *, tolerance: float = 1e-4) -> Iterator[Judgement]:
    """Find networks of several layers that are affine up to the last of them: f(a + b) = f(a) + f(b) − f(0).

    Measures: the relative deviation from that identity of what the last weight layer returns in eval mode, before any
        output activation. It is taken with the weights as they start and with weights drawn anew, since branches that
        start at zero add nothing yet; the greater counts. Max-pooling counts as average pooling.
    Fails when: the deviation is below `tolerance`.
    Warns when: it is, and there are two layers only, with a bottleneck between them or within a part tested alone: they
        may be meant so.
    Not a fault when: there is one layer, or several side by side: a linear model on purpose.
    Source: superposition, which defines an affine map; Nikanjam et al. 2021, Neuralint, missing activation. The bound
        lies above the rounding of float32 numbers; tests/checks/model/test_every_fault.py holds cases on both sides.
    """
    x, model = sound_batch(subject).x, subject.fresh_model().eval()
    layers = weight_layers(model, x)
    if (
        not x.is_floating_point()
        or embeds(model)
        or not _follow_each_other(model, x, layers)
        or any(isinstance(m, RECURRENT) for m in model.modules())
    ):
        yield skipped("tokens, recurrent layers, or no two weight layers after each other")
        return
    value = max(
        min(_deviation(network, x, layers[-1][0], scale) for scale in (1.0, 10.0))
        for network in (model, redrawn(subject.fresh_model().eval(), torch.Generator().manual_seed(subject.seed)))
    )
    narrow = len(layers) == 2 and (_bottleneck(layers) or subject.owner is not subject)
    yield judge(
        value,
        below=tolerance,
        where=Place.modules(*(name for name, _ in layers[:SHOWN])),
        message=f"{len(layers)} weight layers deviate from one linear map by {value:.1e}",
        faults={"missing_nonlinearity": 0.6 if narrow else 0.92},
        otherwise=Status.WARN if narrow else Status.FAIL,
        fix="put an activation between the layers",
    )


def _follow_each_other(model: nn.Module, x: torch.Tensor, layers: list[tuple[str, nn.Module]]) -> bool:
    """Whether what one of the layers is given comes from another, so that it has a slope in its weights."""
    given: list[bool] = []
    handles = [layer.register_forward_pre_hook(lambda _, args: given.append(_has_slope(args))) for _, layer in layers]
    try:
        with torch.enable_grad():
            model.requires_grad_(True)(x)
    finally:
        for handle in handles:
            handle.remove()
    return any(given)


def _has_slope(args: Any) -> bool:
    return any(isinstance(value, torch.Tensor) and value.requires_grad for value in args)


def _bottleneck(layers: list[tuple[str, nn.Module]]) -> bool:
    first, last = (layer.weight for _, layer in (layers[0], layers[-1]))
    assert isinstance(first, torch.Tensor) and isinstance(last, torch.Tensor)
    return len(first) < min(first[0].numel(), len(last))


def _deviation(model: nn.Module, x: torch.Tensor, last: str, scale: float) -> float:
    generator = torch.Generator().manual_seed(5)
    shape = (min(len(x), 32), *x.shape[1:])
    spread = float(x.std()) if x.numel() > 1 and float(x.std()) > 0 else 1.0
    a, b = (torch.randn(shape, generator=generator).to(x) * spread * scale for _ in range(2))
    whole, first, second, zero = (_before_the_end(model, value, last) for value in (a + b, a, b, torch.zeros_like(a)))
    size = float((whole - zero).abs().max())
    return float((whole - first - second + zero).abs().max()) / size if size > 0 and math.isfinite(size) else math.inf


def _before_the_end(model: nn.Module, x: torch.Tensor, last: str) -> torch.Tensor:
    kept: list[torch.Tensor] = []
    handle = dict(model.named_modules())[last].register_forward_hook(lambda _, __, result: kept.append(result.double()))
    try:
        with _AveragePooling():
            answer(model, x)
    finally:
        handle.remove()
    return kept[-1]


class _AveragePooling(TorchFunctionMode):
    """Max-pooling is no activation: with averages in its place, a net without activations is affine."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, name_of(func)
        if name not in ("max_pool1d", "max_pool2d", "max_pool3d"):
            return func(*args, **kwargs)
        names = ("kernel_size", "stride", "padding")
        given = {**dict(zip(names, args[1:4], strict=False)), **{key: kwargs[key] for key in names if key in kwargs}}
        return getattr(nn.functional, name.replace("max", "avg"))(args[0], **given)
