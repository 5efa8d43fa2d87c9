"""Does every parameter learn, and does every sample stay by itself? Backward passes through a fresh copy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from firstfault.check import Depth, Judgement, check, judge, passed, skipped
from firstfault.finding import Layer, Status
from firstfault.recipe import outputs_of

NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)


def gradients(subject: Any) -> dict[str, torch.Tensor | None]:
    """The gradient of the loss by parameter name, from one training batch; built once."""
    if "gradients" not in subject.built:
        model = subject.fresh_model()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(subject.seed)
            outputs = outputs_of(model(subject.batch.x))
            loss = subject.recipe.loss(outputs, subject.batch.y) if _has_loss(subject) else outputs.float().pow(2).mean()
        if loss.requires_grad:
            loss.backward()
        subject.built["gradients"] = {name: value.grad for name, value in model.named_parameters()}
    return subject.built["gradients"]  # type: ignore[no-any-return]


def _has_loss(subject: Any) -> bool:
    return subject.recipe.training.fit is None or subject.recipe.training.loss is not None


@check(layer=Layer.MODEL, needs={"batch", "outputs"}, detects={"frozen_parameters": 0.85})
def frozen_parameters(subject: Any, *, share: float = 0.5) -> Iterator[Judgement]:
    """Find parameters that are switched off though they were never trained.

    A frozen tensor is suspicious when two builds with different seeds give it different values: then it
    is fresh, not pre-trained. `value` is the share of the model's parameters that are frozen so.

    Source: Neuralint; pre-trained backbones are frozen on purpose, and equal in every build.
    """
    model, other = subject.model, subject.recipe.build(subject.seed + 1)
    frozen = [name for name, value in model.named_parameters() if not value.requires_grad]
    if not frozen:
        yield passed("every parameter is trainable")
        return
    twin = dict(other.named_parameters())
    fresh = [name for name in frozen if model.get_parameter(name).ndim > 1 and not torch.equal(model.get_parameter(name), twin[name])]
    total = sum(value.numel() for value in model.parameters())
    portion = sum(model.get_parameter(name).numel() for name in fresh) / max(total, 1)
    yield judge(
        portion, above=share if fresh else 1.0, where=", ".join(fresh[:5]) or None,
        message=f"{portion:.0%} of the parameters are frozen at their random initialisation", fix="set requires_grad=True",
    )


@check(layer=Layer.MODEL, needs={"batch", "outputs"}, detects={"detached_graph": 0.9, "unused_parameters": 0.5})
def no_gradient(subject: Any) -> Iterator[Judgement]:
    """Find trainable parameters that get no gradient: cut off by a detach, or not on the forward path.

    A module that runs in the forward pass but gets no gradient is cut off; one that never runs is unused.

    Source: "every parameter moves in one step", TheDeepChecker; a bias before BatchNorm rightly does not.
    """
    try:
        found = gradients(subject)
    except (RuntimeError, ValueError, IndexError) as error:
        yield skipped(f"the loss could not be computed: {str(error).splitlines()[0]}")
        return
    model = subject.model
    missing = [name for name, grad in found.items() if grad is None and model.get_parameter(name).requires_grad]
    if not missing:
        yield passed(f"all {len(found)} parameters get a gradient")
        return
    ran = _modules_that_run(subject)
    cut = [name for name in missing if name.rpartition(".")[0] in ran]
    weights = [name for name in cut if model.get_parameter(name).ndim > 1]
    if weights:
        yield Judgement(
            Status.FAIL, f"{len(cut)} parameters run in the forward pass, but get no gradient", value=len(cut), threshold=0,
            where=", ".join(cut[:5]), faults={"detached_graph": 0.9}, fix="remove the detach, .data, numpy or no_grad on the path",
        )
        return
    unused = [name for name in missing if name not in cut]
    if unused:
        yield Judgement(
            Status.WARN, f"{len(unused)} parameters are not on the forward path", value=len(unused), threshold=0,
            where=", ".join(unused[:5]), faults={"unused_parameters": 0.5}, fix="use them, or delete them",
        )


def _modules_that_run(subject: Any) -> set[str]:
    ran: set[str] = set()
    model = subject.fresh_model().eval()
    for name, module in model.named_modules():
        module.register_forward_hook(lambda *_, name=name: ran.add(name))
    with torch.no_grad():
        model(subject.batch.x)
    return ran


@check(layer=Layer.MODEL, needs={"batch", "outputs"}, detects={"batch_mixing": 0.95})
def batch_mixing(subject: Any, *, tolerance: float = 1e-4) -> Iterator[Judgement]:
    """Find samples that influence each other: in eval mode, sample 0 must not react to the others.

    The outputs of sample 0 are compared between the batch and the same batch with all other samples
    replaced. `value` is the largest relative difference. Softmax over the batch axis is told apart by columns
    that sum to 1.

    Source: metamorphic test; batch independence by gradient, Karpathy 2019.
    """
    x = subject.batch.x
    if len(x) < 4:
        yield skipped("the batch has fewer than 4 samples")
        return
    outputs = subject.outputs
    if len(outputs) != len(x):
        yield skipped("the outputs are not one per sample")
        return
    other = x.roll(1, 0).flip(0).clone()
    other[0] = x[0]
    with torch.no_grad():
        changed = outputs_of(subject.model(other))
    scale = float(outputs.abs().max()) + 1e-12
    moved = float((changed[0] - outputs[0]).abs().max()) / scale
    columns = outputs.ndim == 2 and bool((outputs >= 0).all()) and torch.allclose(
        outputs.sum(0), torch.ones_like(outputs[0]), atol=1e-3
    )
    if columns and len(outputs) > 1:
        yield Judgement(
            Status.FAIL, "the outputs sum to 1 over the batch, not over the classes", value=moved, threshold=tolerance,
            where="output layer", faults={"softmax_wrong_axis": 0.97}, fix="use softmax(dim=-1)",
        )
        return
    yield judge(
        moved, above=tolerance, where="forward", message=f"a sample's output moves by {moved:.1e} when the others change",
        fix="keep the batch axis apart: no normalisation, attention or reshape across samples",
    )


@check(layer=Layer.MODEL, needs={"batch", "outputs"}, detects={"nondeterministic_eval": 0.85})
def nondeterministic_eval(subject: Any, *, tolerance: float = 1e-5) -> Iterator[Judgement]:
    """Find models that give two answers to one input in eval mode; `value` is the relative difference.

    Source: Humbatova et al. 2020; functional dropout without `training=self.training`.
    """
    with torch.no_grad():
        again = outputs_of(subject.model(subject.batch.x))
    first = subject.outputs
    moved = float((again - first).abs().max()) / (float(first.abs().max()) + 1e-12)
    yield judge(
        moved, above=tolerance, where="eval mode", message=f"the same input twice in eval mode differs by {moved:.1e}",
        faults={"mode_not_propagated": 0.92} if moved > tolerance else None,
        fix="pass training=self.training to functional dropout, and call super().train(mode)",
    )


@check(layer=Layer.MODEL, needs={"batch", "outputs"}, detects={"saturating_activation": 0.75})
def saturating_activation(subject: Any, *, ratio: float = 1e-3, least: int = 4) -> Iterator[Judgement]:
    """Find deep stacks of sigmoid or tanh through which no gradient comes back.

    `value` is the gradient norm per weight of the first weight matrix over that of the last. A stack of at least
    `least` saturating layers is looked at.

    Source: Glorot & Bengio 2010; SageMaker Debugger, SaturatedActivation.
    """
    kinds = (nn.Sigmoid, nn.Tanh, nn.Softsign, nn.Hardsigmoid)
    stack = [module for module in subject.model.modules() if isinstance(module, kinds)]
    try:
        found = [grad for grad in gradients(subject).values() if grad is not None and grad.ndim > 1]
    except (RuntimeError, ValueError, IndexError):
        found = []
    if len(stack) < least or len(found) < 3:
        yield skipped(f"fewer than {least} saturating activation modules")
        return
    value = float(found[0].pow(2).mean().sqrt() / found[-1].pow(2).mean().sqrt().clamp_min(1e-30))
    yield judge(
        value, below=ratio, where="activations",
        message=f"the gradient of the first layer is {value:.1e} of that of the last", fix="use ReLU, and normalise",
    )


@check(
    layer=Layer.MODEL, needs={"batch", "outputs"}, depth=Depth.STANDARD,
    detects={"insufficient_capacity": 0.3},
)
def one_batch_overfit(subject: Any, *, fall: float = 0.5, steps: int = 150) -> Iterator[Judgement]:
    """Look whether one small batch can be learned by heart; `value` is the final loss over the first.

    A symptom that never fails alone: it supports what other checks suspect.

    Source: Karpathy 2019; TheDeepChecker, overfitting one batch.
    """
    if not _has_loss(subject) or not torch.isfinite(subject.outputs).all():
        yield skipped("there is no loss, or the outputs are not finite")
        return
    model = subject.fresh_model()
    x, y = subject.batch.x[:16], subject.batch.y[:16]
    trainable = [value for value in model.parameters() if value.requires_grad]
    if not trainable:
        yield skipped("no parameter is trainable")
        return
    try:
        losses = _memorise(subject, model, trainable, x, y, steps)
    except (RuntimeError, ValueError, IndexError) as error:
        yield skipped(f"the batch could not be trained on: {str(error).splitlines()[0]}")
        return
    value = losses[-1] / max(abs(losses[0]), 1e-9)
    yield judge(
        value, above=fall, otherwise=Status.WARN, faults={},
        message=f"after {steps} steps on 16 samples the loss is {value:.2f} of its start",
        fix="a model that can't memorise 16 samples can't learn the rest",
    )


def _memorise(subject: Any, model: nn.Module, trainable: Any, x: Any, y: Any, steps: int) -> list[float]:
    optimizer = torch.optim.Adam(trainable, lr=3e-3)
    losses = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(subject.seed)
        for _ in range(steps):
            optimizer.zero_grad()
            loss = subject.recipe.loss(outputs_of(model(x)), y)
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    return losses
