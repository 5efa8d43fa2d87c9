"""Can every parameter learn? Gradients of the untrained model's outputs, whatever its loss."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import nn

from firstfault.check import Judgement, check, passed, skipped
from firstfault.checks.model._first_step import reached_in_a_step
from firstfault.finding import Layer, Status
from firstfault.place import FORWARD, Place
from firstfault.subject.memo import memo
from firstfault.subject.model_inputs import alike, all_outputs, answer, is_fresh, redrawn, sound_batch, sound_outputs
from firstfault.subject.subject import Subject

SHOWN = 5
NOISE = 0.3


class _Backward(NamedTuple):
    """By parameter name, the gradient of a random mix of all outputs; shapes of leaves that are no parameters."""

    gradients: dict[str, torch.Tensor | None]
    unregistered: list[tuple[int, ...]]


@memo(of="model")
def _backward(subject: Subject) -> _Backward:
    """Backward through the sound batch: a plain sum of outputs is blind before a softmax, and one loss to other outputs."""
    try:
        return _backward_in(subject, train=True)
    except ValueError:  # batch normalisation refuses a single sample
        return _backward_in(subject, train=False)


def _backward_in(subject: Subject, *, train: bool) -> _Backward:
    model = subject.fresh_model().train(train)
    named = {name: value for name, value in model.named_parameters() if value.requires_grad}
    with torch.enable_grad():
        outputs = all_outputs(model, sound_batch(subject).x)
        mix = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(1)).to(outputs)
        total = (outputs * mix).sum()
    values = list(named.values())
    found = torch.autograd.grad(total, values, allow_unused=True) if total.requires_grad else [None] * len(named)
    return _Backward(dict(zip(named, found, strict=True)), _unregistered(total, model))


def _unregistered(total: torch.Tensor, model: nn.Module) -> list[tuple[int, ...]]:
    """Shapes of the leaves in the graph of `total` that are no parameters of the model."""
    known = {id(value) for value in model.parameters()}
    shapes, seen, waiting = [], set(), [total.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None and id(leaf) not in known:
            shapes.append(tuple(leaf.shape))
        waiting.extend(entry[0] for entry in node.next_functions)
    return shapes


@check(layer=Layer.MODEL, needs={"batch", "outputs"}, detects={"frozen_parameters": 0.8})
def frozen_parameters(subject: Subject) -> Iterator[Judgement]:
    """Find weights that are switched off though they were never trained, or are not registered at all, or are plain tensors.

    A frozen matrix is fresh when two builds with different seeds give it different values, or when it
    is torch's default initialisation: then it is not pre-trained. A pre-trained backbone is
    frozen on purpose, and so is a copy of trainable weights, as of a teacher that follows by averaging. `value` is the share of the parameters that are frozen so.

    Source: Neuralint; a layer kept in a plain list is not registered, and gets to no optimizer.
    """
    model = subject.model
    frozen = [name for name, value in model.named_parameters() if not value.requires_grad]
    if frozen:
        yield _frozen(subject, frozen)
        return
    stray = stray_tensors(subject)
    plain = _plain_tensors(subject) if not stray else []
    if plain:
        yield Judgement(
            Status.FAIL,
            f"{len(plain)} random tensors are plain attributes: no optimizer moves them, and no state holds them",
            value=len(plain),
            threshold=0,
            where=Place.parameters(*plain[:SHOWN]),
            faults={"frozen_parameters": 0.8},
            fix="keep them in nn.Parameter, or as buffers where they are meant to stay",
        )
        return
    if stray:
        yield Judgement(
            Status.FAIL,
            f"{len(stray)} tensors that the outputs depend on are no registered parameters of the model",
            value=len(stray),
            threshold=0,
            where=Place.part(", ".join(str(shape) for shape in stray[:SHOWN])),
            faults={"frozen_parameters": 0.9},
            fix="keep layers in nn.ModuleList, and tensors in nn.Parameter",
        )
        return
    yield passed("every parameter is trainable")


def _plain_tensors(subject: Subject) -> list[str]:
    """Matrices that modules hold as plain attributes, and that two builds draw differently, before any forward pass; a mask or a table is alike."""
    with torch.random.fork_rng(devices=[]):
        first, second = (_attributes(subject.recipe.build(subject.seed + number)) for number in range(2))
    return [
        name
        for name, value in first.items()
        if name in second and value.shape == second[name].shape and not torch.equal(value, second[name])
    ]


def _attributes(model: nn.Module) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}".lstrip("."): value
        for name, module in model.named_modules()
        for key, value in vars(module).items()
        if isinstance(value, torch.Tensor) and value.is_floating_point() and value.ndim > 1
    }


def stray_tensors(subject: Subject) -> list[tuple[int, ...]]:
    """The shapes of tensors that the outputs learn from and that are no parameters of the model, as those of layers in a plain list."""
    return _backward(subject).unregistered


def _frozen(subject: Subject, frozen: list[str]) -> Judgement:
    model = subject.model
    fresh = [name for name in is_fresh(subject, frozen) if not _copied(model, name)]
    total = sum(value.numel() for value in model.parameters())
    share = sum(model.get_parameter(name).numel() for name in fresh) / max(total, 1)
    everything = len(frozen) == sum(1 for _ in model.parameters())
    if fresh:
        return Judgement(
            Status.FAIL,
            f"{share:.0%} of the parameters are frozen at their random initialisation",
            value=share,
            threshold=0,
            where=Place.parameters(*fresh[:SHOWN]),
            faults={"frozen_parameters": 0.95 if everything else 0.8},
            fix="set requires_grad=True",
        )
    return Judgement(
        Status.WARN,
        f"{len(frozen)} parameters are frozen, at values that every build gives them or that trainable ones have: pre-trained, or a copy that follows, it seems",
        value=len(frozen),
        threshold=0,
        where=Place.parameters(*frozen[:SHOWN]),
        faults={"frozen_parameters": 0.3},
        fix="set requires_grad=True, unless they are meant to stay",
    )


def _copied(model: nn.Module, name: str) -> bool:
    """Whether a frozen matrix starts as a copy of a trainable one, as those of a target or averaged network do, which follow it."""
    value = model.get_parameter(name)
    return any(
        other.requires_grad and other.shape == value.shape and torch.equal(other, value) for other in model.parameters()
    )


@check(layer=Layer.MODEL, needs={"batch", "outputs"}, detects={"detached_graph": 0.95})
def detached_graph(subject: Subject) -> Iterator[Judgement]:
    """Find weights that the outputs depend on, but that no gradient reaches.

    Each weight without a gradient is moved: if the outputs move with it, it is on the forward path, and
    something on the way (detach, .data, numpy, no_grad) cuts the gradient. Pre-trained weights may be cut off on purpose, and
    weights that a step of the target's own training reaches learn by another term of its loss, as a codebook does.
    `value` is the number of such tensors.

    Source: "every parameter moves in one step", TheDeepChecker; a bias before BatchNorm rightly does not.
    """
    subject.owner.get("labels")  # a part has none of its own
    missing = _without_gradient(subject)
    if not missing:
        yield passed("every trainable weight gets a gradient")
        return
    cut = [name for name in missing if _matters(subject, [name])] if _matters(subject, missing) else []
    fresh = is_fresh(subject, cut)
    reached = reached_in_a_step(subject) if fresh else frozenset()
    if fresh and reached.issuperset(fresh):
        yield passed(f"{len(fresh)} weights get their gradient from another term of the loss than the outputs")
    elif fresh:
        yield Judgement(
            Status.FAIL,
            f"the outputs depend on {len(cut)} weights that no gradient reaches",
            value=len(cut),
            threshold=0,
            where=Place.parameters(*cut[:SHOWN]),
            fix="remove the detach, .data, numpy or no_grad on the path",
        )
    elif cut:
        yield Judgement(
            Status.WARN,
            f"no gradient reaches {len(cut)} weights; they seem to be pre-trained",
            value=len(cut),
            threshold=0,
            where=Place.parameters(*cut[:SHOWN]),
            faults={"detached_graph": 0.3},
            fix="remove the detach, unless they are meant to stay",
        )
    else:
        yield passed("every weight that the outputs depend on gets a gradient")


@check(layer=Layer.MODEL, needs={"batch", "outputs"}, detects={"unused_parameters": 0.9})
def unused_parameters(subject: Subject, *, share: float = 0.1) -> Iterator[Judgement]:
    """Find weights that no output depends on, in train or eval mode; `value` is their share of all parameters.

    Up to `share` it is a warning, and so it is where the user's own loop may call parts of the model by itself.

    Source: Neuralint; DistributedDataParallel's find_unused_parameters.
    """
    missing = _without_gradient(subject)
    unused = [name for name in missing if not _matters(subject, [name])]
    if not unused:
        yield passed("every weight is on the forward path")
        return
    counts = {name: value.numel() for name, value in subject.model.named_parameters()}
    value = sum(counts[name] for name in unused) / max(1, sum(counts.values()))
    serious = value > share and subject.recipe.training.fit is None
    yield Judgement(
        Status.FAIL if serious else Status.WARN,
        f"no output depends on {len(unused)} weights, {value:.0%} of the parameters",
        value=value,
        threshold=share,
        where=Place.parameters(*unused[:SHOWN]),
        fix="use them in forward, or delete them",
    )


def _without_gradient(subject: Subject, most: int = 40) -> list[str]:
    """Trainable weight matrices that get no gradient, in train mode."""
    found = _backward(subject).gradients
    model = subject.model
    return [name for name, grad in found.items() if grad is None and model.get_parameter(name).ndim > 1][:most]


def _matters(subject: Subject, names: list[str]) -> bool:
    """Whether moving the named parameters moves any output, in eval or train mode."""
    x = sound_batch(subject).x
    for train in (False, True):
        model = subject.fresh_model().train(train)
        try:
            with torch.no_grad():
                before = all_outputs(model, x)
                for name in names:
                    value = model.get_parameter(name)
                    value.add_(torch.randn(value.shape, generator=torch.Generator().manual_seed(2)).to(value) * NOISE)
                after = all_outputs(model, x)
        except ValueError:
            continue
        if before.shape != after.shape or not torch.equal(before, after):
            return True
    return False


@check(layer=Layer.MODEL, needs={"batch", "outputs"}, detects={"detached_graph": 0.6})
def zero_gradient(subject: Subject, *, share: float = 0.3) -> Iterator[Judgement]:
    """Find weights whose gradient is exactly 0 though the units after them are alive, as after round() or sign().

    Looked at with the weights of all layers drawn anew, so that zero initialisation and dead units don't count; draws that leave
    the outputs the same for every sample are left out, since a narrow layer of ReLU units may be silent as a whole.
    `value` is the share of the weight matrices.

    Source: "every parameter moves in one step", TheDeepChecker.
    """
    shares = [value for seed in (3, 4, 5, 6) if (value := _still_share(subject, seed)) is not None]
    if len(shares) < 2:
        yield skipped(
            "no gradient could be taken with redrawn weights, or the outputs don't depend on the inputs with them"
        )
        return
    value = min(shares)
    if value <= share:
        yield passed("every weight matrix gets a gradient that is not 0", value=value)
        return
    yield Judgement(
        Status.FAIL,
        f"the gradient is exactly 0 for {value:.0%} of the weight matrices, whatever their values",
        value=value,
        threshold=share,
        where=FORWARD,
        fix="use differentiable operations: no round, sign, argmax or comparison on the path",
    )


def _still_share(subject: Subject, seed: int) -> float | None:
    model = subject.fresh_model().eval()
    generator = torch.Generator().manual_seed(seed)
    weights = [value for value in model.parameters() if value.requires_grad and value.ndim > 1]
    if not weights or bool((sound_outputs(subject) == 1).all()):  # softmax over one unit: another fault
        return None
    redrawn(model, generator)
    with torch.enable_grad():
        outputs = all_outputs(model, sound_batch(subject).x)
        total = (outputs * torch.randn(outputs.shape, generator=generator).to(outputs)).sum()
    if not total.requires_grad or not torch.isfinite(total) or alike(answer(model, sound_batch(subject).x)):
        return None
    found = torch.autograd.grad(total, weights, allow_unused=True)
    given = [grad for grad in found if grad is not None]
    return sum(1 for grad in given if not grad.any()) / len(given) if given else None
