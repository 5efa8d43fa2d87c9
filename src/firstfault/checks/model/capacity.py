"""Is the model large enough: can it learn a few samples by heart, and does a bottleneck lose the inputs?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from firstfault.check import Depth, Judgement, check, judge, passed, skipped
from firstfault.clock import Deadline
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.model_inputs import alike, answer, ordinary_inputs, run_order, sound_batch, weight_layers
from firstfault.subject.subject import Subject
from firstfault.training.recipe import outputs_of


@check(layer=Layer.MODEL, needs={"batch", "labels", "outputs"}, detects={"insufficient_capacity": 0.6})
def bottleneck(subject: Subject, *, narrowest: int = 2) -> Iterator[Judgement]:
    """Find a hidden layer, or a pooling, that leaves one or two numbers per sample, through which everything must pass.

    Measures: the width of the narrowest such layer. Everything passes through it when the outputs no longer depend on
        the inputs once its output is held still.
    Fails when: the width is at most `narrowest`, and below what the layer takes.
    Warns when: it is, in an autoencoder or before outputs that are no wider.
    Not a fault when: the layer is not the only way, as a gate or an attention score.
    Source: Goodfellow et al. 2016, 6.4: width bounds what the next layers can tell apart. The bound is a choice of
        ours; tests/checks/model/test_every_fault.py holds layers of one and of two units.
    """
    model, x = subject.fresh_model().eval(), ordinary_inputs(subject)
    layers = weight_layers(model, x)
    if len(layers) < 2 or len(x) < 3 or alike(answer(model, x)):
        yield skipped("there are fewer than two weight layers, or the outputs don't depend on the inputs")
        return
    order = run_order(model, x)
    before_last = list(dict.fromkeys(order[: order.index(layers[-1][0])]))
    narrow = [
        (name, width) for name, (given, width) in _widths(model, x, before_last).items() if width <= narrowest < given
    ]
    found = [(name, width) for name, width in narrow if _all_passes(model, x, name)]
    if not found:
        yield passed("no narrow layer holds everything")
        return
    name, width = min(found, key=lambda entry: entry[1])
    y = subject.recipe.train.y
    wanted = max(2, subject.recipe.classes - 1) if subject.recipe.task == "classification" else max(1, y[0].numel())
    coded = y.shape == subject.recipe.train.x.shape
    yield Judgement(
        Status.WARN if coded or width >= wanted else Status.FAIL,
        f"everything passes through the {width} units of {name}",
        value=width,
        threshold=narrowest,
        where=Place.modules(name),
        fix="widen the layer",
    )


def _widths(model: nn.Module, x: torch.Tensor, names: list[str]) -> dict[str, tuple[int, int]]:
    """By module, the numbers that it takes and gives: a linear layer per position, others per sample.

    Modules that do not keep the samples apart are left out.
    """
    modules, found = dict(model.named_modules()), dict[str, tuple[int, int]]()

    def note(name: str, given: Any, result: Any) -> None:
        if isinstance(modules[name], nn.Linear):
            found[name] = (modules[name].in_features, modules[name].out_features)
        elif given and all(isinstance(value, torch.Tensor) and len(value) == len(x) for value in (given[0], result)):
            found.setdefault(name, (given[0][0].numel(), result[0].numel()))

    handles = [
        modules[name].register_forward_hook(lambda _, given, result, name=name: note(name, given, result))
        for name in names
    ]
    try:
        answer(model, x)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _all_passes(model: nn.Module, x: torch.Tensor, name: str) -> bool:
    module = dict(model.named_modules())[name]
    handle = module.register_forward_hook(lambda _, __, result: result.mean(0, keepdim=True).expand_as(result))
    try:
        return alike(answer(model, x))
    finally:
        handle.remove()


@check(
    layer=Layer.MODEL,
    needs={"batch", "labels", "outputs"},
    depth=Depth.STANDARD,
    detects={"insufficient_capacity": 0.3},
)
def one_batch_overfit(
    subject: Subject, *, fall: float = 0.5, steps: int = 150, samples: int = 16, seconds: float = 3.0
) -> Iterator[Judgement]:
    """Look whether a few samples can be learned by heart.

    Measures: the last loss over the first, after `steps` steps of Adam on `samples` samples, within `seconds` at most.
    Warns when: the ratio is above `fall`. It never fails alone: it supports what other checks suspect.
    Source: Karpathy 2019, "overfit one batch"; Braiek & Khomh 2023, TheDeepChecker. The bounds are a choice of ours;
        tests/checks/model/test_every_fault.py holds a network that learns and one that doesn't.
    """
    training = subject.recipe.training
    if training.fit is not None and training.loss is None:
        yield skipped("the user's own loop holds the loss")
        return
    batch = sound_batch(subject).rows(slice(samples))
    model = subject.fresh_model()
    trainable = [value for value in model.parameters() if value.requires_grad]
    if not trainable or len(batch) < 2:
        yield skipped("no parameter is trainable, or there is only one sample")
        return
    try:
        losses = _memorise(subject, model, trainable, batch, steps, seconds)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        yield skipped(f"the batch could not be trained on: {str(error).splitlines()[0]}")
        return
    value = losses[-1] / max(abs(losses[0]), 1e-9)
    if len(losses) < steps and value > fall:
        yield skipped(f"only {len(losses)} steps fitted into {seconds:.0f} s")
        return
    yield judge(
        value,
        above=fall,
        otherwise=Status.WARN,
        message=f"after {len(losses)} steps on {len(batch)} samples the loss is {value:.2f} of its start",
        fix="a model that can't memorise a few samples can't learn the rest",
    )


def _memorise(
    subject: Subject, model: nn.Module, trainable: Any, batch: Any, steps: int, seconds: float
) -> list[float]:
    optimizer, losses, deadline = torch.optim.Adam(trainable, lr=3e-3), [], Deadline(seconds)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(subject.seed)
        for _ in range(steps):
            optimizer.zero_grad()
            loss = subject.recipe.loss(outputs_of(model(batch.x)), batch.y)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(float(loss.detach()))
            if deadline.passed:
                break
    return losses
