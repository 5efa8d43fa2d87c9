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
from firstfault.place import SHOWN, Place
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
from firstfault.training.losses import OF_CLASSES, OF_SHARES

ON_CLASSES = OF_CLASSES + OF_SHARES
FEWEST_WEIGHTS = 8  # of fewer numbers the width is an accident


@check(layer=Layer.MODEL, needs={"batch", "outputs"}, detects={"constant_init": 0.95})
def constant_init(subject: Subject, *, steps: int = 3) -> Iterator[Judgement]:
    """Find layers whose units all start with the same weights, and stay the same as each other.

    Measures: the number of hidden layers with equal units; after `steps` steps of Adam towards random goals, those
        whose units are still equal.
    Fails when: units are still equal, which is proof. When all weight matrices start constant and yet part, it is a
        symptom; another constant than 0, from which the units part too, is a suspicion.
    Not a fault when: it is zeros, in biases, in the last layer or at the end of a residual branch: these part at once.
    Source: Goodfellow et al. 2016, 8.4; Nikanjam et al. 2021, Neuralint, asymmetric initialisation;
        benchmarks/localise.py, fault constant_init. A few steps are a choice of ours: units that differ part in the
        first.
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
            where=Place.modules(*named[:SHOWN]),
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
    subject: Subject,
    *,
    times: float = 5.0,
    gain: float = 3.0,
    size: float = 30.0,
    saturated: float = 0.25,
    flat_state: float = 0.95,
    flat_gate: float = 5.0,
) -> Iterator[Judgement]:
    """Find weights that start so wide that the outputs of ordinary inputs explode, or the hidden units saturate.

    Measures: the loss on standard normal inputs over that of a constant answer (ln K for K classes). Without a known
        loss, the spread of the outputs over `size`, times `times`; for regression relative to the size of the labels,
        where that is above 1. For a recurrent layer, the share of states beyond ±`flat_state`, or of gates' inputs
        beyond ±`flat_gate`, 0–1: its outputs can't grow.
    Fails when: the ratio is above `times`, and some layer is more than `gain` times as wide as the He initialisation;
        or the share is above `saturated` in a recurrent layer that is more than `gain` times as wide as by default.
    Source: Karpathy 2019, "verify loss at init"; He et al. 2015; Amazon SageMaker Debugger, PoorWeightInitialization.
        tanh has a slope of 0.1 at a state of 0.95, sigmoid of 0.007 at 5. The bounds are a choice of ours;
        tests/checks/model/test_every_fault.py holds the cases that they separate.
    """
    subject.owner.get("labels")  # a part has none of its own
    model, x = subject.fresh_model().eval(), ordinary_inputs(subject)
    widths = {name: _width(layer) for name, layer in weight_layers(model, x)}
    widest = max(widths, key=lambda name: widths[name], default=None)
    states = _recurrent_states(model, x, flat_state, flat_gate)
    stuck = [found for found in states if found[1] > gain and found[2] > saturated]
    if stuck:
        name, width, share = stuck[0]
        yield Judgement(
            Status.FAIL,
            f"{share:.0%} of the states or gates of {name} are saturated, "
            f"and its weights are {width:.0f} times as wide as by default",
            value=share,
            threshold=saturated,
            where=Place.modules(name),
            fix="use the default initialisation",
        )
        return
    if widest is None:
        yield skipped("the model has no linear or convolutional layer")
        return
    value, text = _excess(subject, answer(model, x), size, times)
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


def _recurrent_states(
    model: nn.Module, x: torch.Tensor, flat_state: float, flat_gate: float
) -> list[tuple[str, float, float]]:
    """By recurrent layer: its name, its width against torch's ±1/√units, and the share that is saturated.

    The share is of its states, or of what goes into its gates.
    """
    found: list[tuple[str, float, float]] = []
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.RNNBase)]

    def note(name: str, module: nn.RNNBase, given: Any, result: Any) -> None:
        usual = (3 * module.hidden_size) ** -0.5
        weights = [
            float(value.detach().float().std()) for value in module.parameters() if value.ndim > 1 and value.numel() > 1
        ]
        states = getattr(result[0], "data", result[0])
        gates = _gates(module, getattr(given[0], "data", given[0]), states, flat_gate)
        share = max((states.abs() > flat_state).float().mean(), *gates)
        found.append((name, max(weights, default=0.0) / usual, float(share)))

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


def _gates(module: nn.RNNBase, x: torch.Tensor, states: torch.Tensor, flat: float) -> Iterator[torch.Tensor]:
    """The shares beyond ±`flat` of what the first layer's inputs, and the last layer's states, add to the gates."""
    first, last = module.get_parameter("weight_ih_l0"), module.get_parameter(f"weight_hh_l{module.num_layers - 1}")
    for values, weight in ((x, first), (states[..., : last.shape[1]], last)):
        yield ((values @ weight.T).abs() > flat).float().mean()


def _width(layer: nn.Module) -> float:
    weight = layer.weight
    if not isinstance(weight, torch.Tensor) or weight.numel() < FEWEST_WEIGHTS:
        return 0.0
    return float(weight.detach().float().pow(2).mean().sqrt()) / math.sqrt(2 / max(1, weight[0].numel()))


def _excess(subject: Subject, outputs: torch.Tensor, size: float, times: float) -> tuple[float, str]:
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
    return times * spread / (scale * size), f"the outputs of ordinary inputs spread by {spread:.2g} before training"


def _value(subject: Subject, outputs: torch.Tensor) -> float | None:
    try:
        with torch.no_grad():
            return float(subject.recipe.loss(outputs, sound_batch(subject).y[: len(outputs)]))
    except Exception:
        return None


@check(layer=Layer.MODEL, needs={"batch", "labels", "outputs"}, detects={"exploding_init": 0.2})
def loss_at_start(subject: Subject, *, times: float = 10.0) -> Iterator[Judgement]:
    """Judge the loss before training against that of guessing.

    Measures: the loss of the first batch over ln K, for K classes.
    Warns when: the ratio is above `times`. It never fails: inputs on a wild scale raise it as wide weights do.
    Source: Karpathy 2019, "verify loss at init". The bound is a choice of ours: it leaves room for wide weights and
        inputs.
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
