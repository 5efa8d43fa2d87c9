"""Is the start sound? Initial weights that differ from unit to unit, and outputs of a sane size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from firstfault.check import Judgement, check, judge, passed, skipped
from firstfault.checks.model._weights_used import weights_used
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.loss_call import loss_call, loss_on
from firstfault.subject.model_inputs import (
    all_outputs,
    answer,
    ordinary_inputs,
    probe_loss,
    sound_batch,
    sound_outputs,
    weight_layers,
)
from firstfault.subject.subject import Subject

ON_CLASSES = ("cross_entropy", "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits")
STATE, GATE = 0.95, 5.0


@check(layer=Layer.MODEL, needs={"batch", "outputs"}, detects={"constant_init": 0.95})
def constant_init(subject: Subject, *, steps: int = 3) -> Iterator[Judgement]:
    """Find layers whose units all start with the same weights, and stay the same as each other.

    Proof: after a few steps of Adam towards random goals the units of a hidden layer are still equal. Zeros in
    biases, in the last layer or at the end of a residual branch part at once, and are no fault. When all weight
    matrices start constant and yet part, it is a symptom; another constant than 0, from which the units part too, is a suspicion.

    Source: Neuralint, asymmetric initialisation; Goodfellow et al. 2016, 8.4.
    """
    model, x = subject.fresh_model().eval(), sound_batch(subject).x
    matrices = _matrices(model, x)
    hidden = list(matrices)[:-1]
    equal = [name for name in hidden if _units_equal(matrices[name])]
    if not equal:
        yield passed(f"the units of {len(matrices)} weight matrices start apart")
        return
    every = len(equal) == len(hidden) and _units_equal(matrices[list(matrices)[-1]])
    filled = [name for name in equal if bool(matrices[name].any())]
    _adapt(model, x, steps)
    stuck = [name for name in equal if _units_equal(matrices[name])]
    named = stuck or (equal if every else filled)
    if named:
        yield Judgement(
            Status.FAIL,
            f"all units of {len(named)} hidden layers start with the same weights"
            + (f", and still have the same after {steps} steps" if stuck else ""),
            value=len(named),
            threshold=0,
            where=Place.modules(*named[:5]),
            faults={"constant_init": 0.95 if stuck else 0.75 if every else 0.6},
            fix="use the default initialisation",
        )
        return
    yield passed(f"{len(equal)} layers start with equal units, but part in the first steps")


def _matrices(model: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """The trainable weights by which a forward pass multiplies, as they run, units first: `(units, …)`."""
    found: dict[str, torch.Tensor] = {}
    for use in weights_used(model, x):
        for name, axis in use.units.items():
            value = model.get_parameter(name)
            if value.requires_grad and value.ndim > 1:
                found.setdefault(name, value.detach().movedim(axis, 0))
    return found


def _units_equal(weight: torch.Tensor) -> bool:
    rows = weight.flatten(1)
    return len(rows) > 1 and bool((rows == rows[:1]).all())


def _adapt(model: nn.Module, x: torch.Tensor, steps: int) -> None:
    optimizer = torch.optim.Adam([value for value in model.parameters() if value.requires_grad], lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        with torch.enable_grad():
            loss = probe_loss(all_outputs(model, x))
        if not loss.requires_grad or not torch.isfinite(loss):
            return
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


@check(layer=Layer.MODEL, needs={"batch", "outputs"}, detects={"exploding_init": 0.8})
def exploding_init(
    subject: Subject, *, times: float = 5.0, gain: float = 3.0, size: float = 30.0, saturated: float = 0.25
) -> Iterator[Judgement]:
    """Find weights that start so wide that the outputs of ordinary inputs explode, or the hidden units saturate.

    The loss on standard normal inputs is judged against that of a constant answer (ln K for K classes): `value` is
    their ratio, a fault above `times`. Without a known loss, outputs of a spread above `size` are. In both
    cases some layer must be `gain` times as wide as the He initialisation. A recurrent layer that is as wide, and
    of whose states more than the share `saturated` lies beyond ±0.95, or of whose gates' inputs beyond ±5, is a fault too: its outputs can't grow.

    Source: Karpathy 2019, "verify loss at init"; SageMaker Debugger, PoorWeightInitialization.
    """
    subject.owner.get("labels")  # a part has none of its own
    model, x = subject.fresh_model().eval(), ordinary_inputs(subject)
    widths = {name: _width(layer) for name, layer in weight_layers(model, x)}
    widest = max(widths, key=lambda name: widths[name], default=None)
    stuck = [found for found in _recurrent_states(model, x) if found[1] > gain and found[2] > saturated]
    if stuck:
        name, width, share = stuck[0]
        yield Judgement(
            Status.FAIL,
            f"{share:.0%} of the states or gates of {name} are saturated, and its weights are {width:.0f} times as wide as by default",
            value=share,
            threshold=saturated,
            where=Place.modules(name),
            fix="use the default initialisation",
        )
        return
    if widest is None:
        yield skipped("the model has no linear or convolutional layer")
        return
    value, text = _excess(subject, answer(model, x), size)
    wide = widths[widest] > gain
    if wide and value > times:
        yield Judgement(
            Status.FAIL,
            f"{text}, and the weights of {widest} are {widths[widest]:.0f} times as wide as He initialisation",
            value=value,
            threshold=times,
            where=Place.modules(widest),
            fix="use the default initialisation",
        )
        return
    yield passed(f"{text}; no layer explodes", value=value)


def _recurrent_states(model: nn.Module, x: torch.Tensor) -> list[tuple[str, float, float]]:
    """By recurrent layer: its name, its width against torch's ±1/√units, and the share that is saturated, of its states or of what goes into its gates."""
    found: list[tuple[str, float, float]] = []
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.RNNBase)]

    def note(name: str, module: nn.RNNBase, given: Any, result: Any) -> None:
        usual = (3 * module.hidden_size) ** -0.5
        weights = [
            float(value.detach().float().std()) for value in module.parameters() if value.ndim > 1 and value.numel() > 1
        ]
        states = getattr(result[0], "data", result[0])
        shares = [(states.abs() > STATE).float().mean(), *_gates(module, getattr(given[0], "data", given[0]), states)]
        found.append((name, max(weights, default=0.0) / usual, float(max(shares))))

    handles = [
        module.register_forward_hook(lambda module, given, result, name=name: note(name, module, given, result))
        for name, module in layers
    ]
    try:
        if handles:
            answer(model, x)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _gates(module: nn.RNNBase, x: torch.Tensor, states: torch.Tensor) -> Iterator[torch.Tensor]:
    """The shares of what the first layer's inputs, and the last layer's states, add to the gates that are beyond ±5, where a sigmoid is flat."""
    first, last = module.get_parameter("weight_ih_l0"), module.get_parameter(f"weight_hh_l{module.num_layers - 1}")
    for values, weight in ((x, first), (states[..., : last.shape[1]], last)):
        yield ((values @ weight.T).abs() > GATE).float().mean()


def _width(layer: nn.Module) -> float:
    weight = layer.weight
    if not isinstance(weight, torch.Tensor) or weight.numel() < 8:
        return 0.0
    return float(weight.detach().float().pow(2).mean().sqrt()) / math.sqrt(2 / max(1, weight[0].numel()))


def _excess(subject: Subject, outputs: torch.Tensor, size: float) -> tuple[float, str]:
    """How many times the outputs exceed what is expected at the start, and that in words."""
    recipe = subject.recipe
    if loss_call(subject).name in ON_CLASSES and recipe.training.fit is None and recipe.task != "multilabel":
        loss = _value(subject, outputs)
        chance = math.log(max(2, recipe.classes))
        if loss is not None:
            return (
                loss / chance,
                f"the loss of ordinary inputs before training is {loss / chance:.1f} times that of guessing",
            )
    spread = float(outputs.float().std()) if outputs.numel() > 1 else 0.0
    y = recipe.train.y.float()
    scale = max(1.0, float(y.abs().nanmean()) if recipe.task == "regression" and len(y) else 1.0)
    return 5.0 * spread / (scale * size), f"the outputs of ordinary inputs spread by {spread:.2g} before training"


def _value(subject: Subject, outputs: torch.Tensor) -> float | None:
    try:
        with torch.no_grad():
            return float(subject.recipe.loss(outputs, sound_batch(subject).y[: len(outputs)]))
    except Exception:
        return None


@check(layer=Layer.MODEL, needs={"batch", "labels", "outputs"}, detects={"exploding_init": 0.2})
def loss_at_start(subject: Subject, *, times: float = 10.0) -> Iterator[Judgement]:
    """Judge the loss before training against that of guessing, ln K for K classes; `value` is their ratio.

    A warning only: inputs on a wild scale raise it as wide weights do.

    Source: Karpathy 2019, "verify loss at init".
    """
    recipe = subject.recipe
    if recipe.task != "classification" or recipe.classes < 2 or recipe.training.fit is not None:
        yield skipped("there is no loss to expect")
        return
    if loss_on(subject, sound_outputs(subject)).name not in ON_CLASSES:
        yield skipped("the loss is not known, so neither is its start")
        return
    loss = _value(subject, sound_outputs(subject))
    if loss is None:
        yield skipped("the loss could not be computed on the first outputs")
        return
    value = loss / math.log(recipe.classes)
    yield judge(
        value,
        above=times,
        otherwise=Status.WARN,
        message=f"the loss before training is {value:.1f} × ln {recipe.classes}",
        fix="look at the scale of the inputs and of the initial weights",
    )
