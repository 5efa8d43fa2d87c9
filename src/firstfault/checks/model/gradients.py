"""Can every parameter learn? Gradients of the untrained model's outputs, whatever its loss."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from firstfault.check import Judgement, check, passed, skipped
from firstfault.checks.model._backward import backward
from firstfault.checks.model._first_step import reached_in_a_step
from firstfault.finding import Layer, Status
from firstfault.place import FORWARD, SHOWN, Place
from firstfault.subject.model_inputs import alike, all_outputs, answer, is_fresh, redrawn, sound_batch, sound_outputs
from firstfault.subject.subject import Subject

NOISE = 0.3  # added to a weight to see whether the outputs move: well above rounding, and too little to overflow
MOST_MOVED = 40  # weights without a gradient that are looked at: each is moved, which costs up to four forward passes
DRAWS = (3, 4, 5, 6)  # seeds: one that gives silent layers is made up for by the others
FEWEST_DRAWS = 2  # one draw alone may be an accident


@check(layer=Layer.MODEL, needs={"batch", "outputs"}, detects={"detached_graph": 0.95})
def detached_graph(subject: Subject) -> Iterator[Judgement]:
    """Find weights that the outputs depend on, but that no gradient reaches.

    Measures: the number of such weight matrices, of up to 40 that get no gradient from the outputs. Each is moved: if
        the outputs move with it, it is on the forward path, and something on the way (detach, .data, numpy, no_grad)
        cuts the gradient.
    Fails when: there is one, and its values are random.
    Warns when: the values are those of every build: pre-trained weights may be cut off on purpose.
    Not a fault when: a step of the target's own training reaches them by another term of its loss, as those of a
        codebook. Biases are not looked at: one before batch normalisation rightly gets no gradient.
    Source: Braiek & Khomh 2023, TheDeepChecker: every parameter moves in one step; benchmarks/localise.py, fault
        detached_graph.
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
    """Find weights that no output depends on, in train or in eval mode.

    Measures: their share of all parameters, 0–1, from up to 40 weight matrices that get no gradient. Each is moved: no
        output moves with it.
    Fails when: the share is above `share`.
    Warns when: it is lower, or the user's own loop may call parts of the model by itself.
    Not a fault when: it had a gradient while a training was watched.
    Source: torch.nn.parallel.DistributedDataParallel, find_unused_parameters, for what is unused. The bound is a choice
        of ours: a small spare layer costs little; tests/checks/model/test_every_fault.py holds both cases.
    """
    missing = _without_gradient(subject)
    record = subject.made(Subject.record)
    learns = record.had_gradient if record is not None else {}
    unused = [name for name in missing if not learns.get(name) and not _matters(subject, [name])]
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


def _without_gradient(subject: Subject) -> list[str]:
    """The first trainable weight matrices that get no gradient, in train mode."""
    found = backward(subject).gradients
    model = subject.model
    return [name for name, grad in found.items() if grad is None and model.get_parameter(name).ndim > 1][:MOST_MOVED]


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

    Measures: the share of the weight matrices that get a gradient whose gradient is all 0, the lowest of four draws of
        all weights, 0–1. With drawn weights, zero initialisation and dead units don't count.
    Fails when: the share is above `share`.
    Not a fault when: a draw leaves the outputs the same for every sample, since a narrow layer of ReLU units may be
        silent as a whole: such draws are left out, and two others are needed.
    Source: Braiek & Khomh 2023, TheDeepChecker: every parameter moves in one step. The bound is a choice of ours;
        tests/checks/model/test_gradients.py holds cases on both sides.
    """
    shares = [value for seed in DRAWS if (value := _still_share(subject, seed)) is not None]
    if len(shares) < FEWEST_DRAWS:
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
