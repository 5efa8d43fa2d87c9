"""Is every weight one that training moves? Frozen ones, layers in plain lists, and plain tensors are not."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from firstfault.check import Judgement, check, passed
from firstfault.checks.model._backward import stray_tensors
from firstfault.checks.model._unregistered import unregistered
from firstfault.finding import Layer, Status
from firstfault.place import SHOWN, Place
from firstfault.subject.model_inputs import is_fresh
from firstfault.subject.subject import Subject


@check(layer=Layer.MODEL, needs={"batch", "outputs"}, detects={"frozen_parameters": 0.8})
def frozen_parameters(subject: Subject) -> Iterator[Judgement]:
    """Find weights that training never moves: frozen at random values, not registered, or plain tensors.

    Measures: the share of the parameters that are frozen at random values, 0–1. A matrix is at random values when two
        builds with different seeds give it different ones, or when it fills the interval of torch's default
        initialisation. Where nothing is frozen, the number of tensors that the outputs depend on and that are no
        parameters, or else of random matrices that modules hold as plain attributes.
    Fails when: there is one.
    Warns when: weights are frozen at values that every build gives them, as a pre-trained backbone on purpose, or that
        trainable weights have, as a teacher that follows them by averaging.
    Not a fault when: a plain tensor is the same in two builds, as a mask or a table of positions is.
    Source: torch.nn.ModuleList and torch.nn.Parameter: what is kept otherwise is not registered, and gets to no
        optimizer; benchmarks/localise.py, fault frozen_parameters.
    """
    frozen = [name for name, value in subject.model.named_parameters() if not value.requires_grad]
    stray = stray_tensors(subject) if not frozen else []
    plain = _plain_tensors(subject) if not frozen and not stray else []
    if frozen:
        yield _frozen(subject, frozen)
    elif stray:
        yield _stray(stray, unregistered(subject).weighted)
    elif plain:
        yield _plain(plain)
    else:
        yield passed("every parameter is trainable")


def _stray(shapes: list[tuple[int, ...]], names: tuple[str, ...]) -> Judgement:
    of = f", those of {', '.join(names[:SHOWN])}," if names else ""
    return Judgement(
        Status.FAIL,
        f"{len(shapes)} tensors that the outputs depend on{of} are no registered parameters of the model",
        value=len(shapes),
        threshold=0,
        where=Place.modules(*names[:SHOWN]) if names else Place.part(", ".join(map(str, shapes[:SHOWN]))),
        faults={"frozen_parameters": 0.9},
        fix="keep layers in nn.ModuleList or nn.ModuleDict, and tensors in nn.Parameter",
    )


def _plain(names: list[str]) -> Judgement:
    return Judgement(
        Status.FAIL,
        f"{len(names)} random tensors are plain attributes: no optimizer moves them, and no state holds them",
        value=len(names),
        threshold=0,
        where=Place.parameters(*names[:SHOWN]),
        faults={"frozen_parameters": 0.8},
        fix="keep them in nn.Parameter, or as buffers where they are meant to stay",
    )


def _plain_tensors(subject: Subject) -> list[str]:
    """Matrices that modules hold as plain attributes, and that two builds draw differently, before any forward pass.

    A mask or a table is the same in both.
    """
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
        f"{len(frozen)} parameters are frozen, at values that every build gives them or that trainable ones have: "
        "pre-trained, or a copy that follows, it seems",
        value=len(frozen),
        threshold=0,
        where=Place.parameters(*frozen[:SHOWN]),
        faults={"frozen_parameters": 0.3},
        fix="set requires_grad=True, unless they are meant to stay",
    )


def _copied(model: nn.Module, name: str) -> bool:
    """Whether a frozen matrix starts as a copy of a trainable one, as those of a network that follows another do."""
    value = model.get_parameter(name)
    return any(
        other.requires_grad and other.shape == value.shape and torch.equal(other, value) for other in model.parameters()
    )
