"""Does a sample's output depend on that sample alone, and on nothing random? Looked at in eval mode."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from firstfault.check import Judgement, check, judge, passed, skipped
from firstfault.checks.model._backward import stray_tensors
from firstfault.checks.model._unregistered import unregistered
from firstfault.finding import Layer, Status
from firstfault.place import FORWARD, SHOWN, Place, together
from firstfault.subject.memo import memo
from firstfault.subject.model_inputs import (
    answer,
    embeds,
    finite_outputs,
    has_outputs_of_pairs,
    output_tensors,
    sound_batch,
    sound_outputs,
)
from firstfault.subject.subject import Subject
from firstfault.training.one_tensor import inputs_of_call
from firstfault.training.recipe import outputs_of
from firstfault.training.torch_calls import Call, flag, record, softmax_axis

MODAL = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm)
SAMPLES = 32  # of which three are looked at: enough to meet another sample, and cheap
FEW = 2  # samples: one alone may lose its axis
MOST_OUTPUTS = 2  # tensors: a model that returns more, as a variational autoencoder, may draw on purpose


def still_training(model: nn.Module) -> list[str]:
    """Dropout and batch normalisation that are in train mode, though the model was put in eval mode."""
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, MODAL) and module.training and getattr(module, "p", 1) != 0
    ]


def without_statistics(model: nn.Module) -> list[str]:
    """Batch normalisation that keeps no running statistics, and so uses the batch's in eval mode."""
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None
    ]


@memo(of="model")
def _calls(subject: Subject) -> list[Call]:
    with torch.no_grad():
        return record(subject.fresh_model().eval(), sound_batch(subject).x)[1]


@check(layer=Layer.MODEL, needs={"batch", "outputs"}, detects={"batch_mixing": 0.95, "softmax_wrong_axis": 0.97})
def batch_mixing(subject: Subject, *, tolerance: float = 1e-6, moved: float = 1e-4) -> Iterator[Judgement]:
    """Find samples that influence each other in eval mode.

    Measures: the influence of the other samples on a sample's outputs over that of its own inputs: the largest gradient
        of a random mix of its outputs (a plain sum after a softmax has gradient 0). For tokens, and where no gradient
        passes, the other samples are replaced and left out instead, and the move is taken over the spread of the
        outputs.
    Fails when: the influence is above `tolerance`; after replacing, above `moved` too. Softmax over the batch axis is
        told from other mixing by the calls that the forward pass makes.
    Not a fault when: batch normalisation uses the batch's statistics, which is judged on its own; or there is an output
        for each pair of samples, as where a contrastive model tells how alike they are.
    Source: Karpathy 2019, "use backprop to chart dependencies", as a metamorphic test. The bounds lie above the
        rounding of float32 numbers, which differs with the batch; tests/checks/model/test_every_fault.py holds cases on
        both sides.
    """
    x = sound_batch(subject).x[:SAMPLES]
    if len(x) < 3 or len(sound_outputs(subject)) != len(sound_batch(subject)):
        yield skipped("there are fewer than 3 samples, or not one output per sample")
        return
    if (inputs := inputs_of_call(subject.model)) is not None and not inputs.separable:
        yield skipped("the model is given whole batches, which can't be cut into samples")
        return
    if still_training(subject.model) or without_statistics(subject.model) or unregistered(subject).norms:
        yield skipped("batch normalisation uses the batch's statistics, which is judged on its own")
        return
    model = subject.fresh_model().eval()
    if has_outputs_of_pairs(model, x):
        yield skipped("there is an output for each pair of samples, as of a contrastive loss")
        return
    value = _influence(model, x, subject.seed, moved)
    if value <= tolerance:
        yield passed("no sample influences another", value=value)
        return
    axes = [
        call
        for call in _calls(subject)
        if call.name in ("softmax", "log_softmax") and _over_batch(call, len(sound_batch(subject)))
    ]
    text = f"the outputs of a sample react to other samples, with {value:.1e} of the strength of its own"
    if axes:
        yield Judgement(
            Status.FAIL,
            f"softmax runs over the batch: {text}",
            value=value,
            threshold=tolerance,
            where=axes[0].place,
            faults={"softmax_wrong_axis": 0.97},
            fix="use softmax(dim=-1)",
        )
        return
    yield Judgement(
        Status.FAIL,
        text,
        value=value,
        threshold=tolerance,
        where=FORWARD,
        faults={"batch_mixing": 0.95},
        fix="keep the batch axis apart: no normalisation, attention or reshape across samples; "
        "batch_first=True for (N, T, …)",
    )


def _over_batch(call: Call, samples: int) -> bool:
    given = call.args[0]
    return isinstance(given, torch.Tensor) and given.ndim > 1 and softmax_axis(call) == 0 and len(given) == samples


def _influence(model: nn.Module, x: torch.Tensor, seed: int, moved: float) -> float:
    ratio = None
    if x.is_floating_point() and not embeds(model):
        found = [_by_gradient(model, x, i, seed) for i in sorted({0, len(x) // 2, len(x) - 1})]
        known = [value for value in found if value is not None]
        ratio = max(known) if known else None
    return _by_replacing(model, x, moved) if ratio is None else ratio


def _by_gradient(model: nn.Module, x: torch.Tensor, i: int, seed: int) -> float | None:
    inputs = x.clone().requires_grad_(True)
    with torch.enable_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        own = outputs_of(model(inputs))[i]
        total = (own * torch.randn(own.shape, generator=torch.Generator().manual_seed(7)).to(own)).sum()
    if not total.requires_grad:
        return None
    with torch.backends.cudnn.flags(enabled=False):
        grad = torch.autograd.grad(total, inputs, allow_unused=True)[0]
    if grad is None or not torch.isfinite(grad).all() or not grad[i].any():
        return None
    others = grad.clone()
    others[i] = 0
    return float(others.abs().max() / grad[i].abs().max())


def _by_replacing(model: nn.Module, x: torch.Tensor, moved: float) -> float:
    """How far sample 0's output moves in other company, and in less, over the spread of the outputs; 0 up to `moved`.

    What is taken over all samples, as a mean, hardly moves where they are replaced one by one by each other.
    """
    other = x.roll(1, 0).flip(0).clone()
    other[0] = x[0]
    before = answer(model, x)
    scale = max(float((before - before.mean(0)).abs().max()), 1e-3 * float(before.abs().max()), 1e-12)
    after = [answer(model, company)[0] for company in (other, x[:FEW])]
    move = max(float((each - before[0]).abs().max()) for each in after if each.shape == before[0].shape) / scale
    return move if move > moved else 0.0


@check(layer=Layer.MODEL, needs={"batch", "outputs"}, detects={"mode_not_propagated": 0.92})
def mode_not_propagated(subject: Subject) -> Iterator[Judgement]:
    """Find dropout and batch normalisation that stay in train mode in eval mode, as modules or as functions.

    Measures: the number of such modules, or of calls of functional dropout without `training=self.training`.
    Fails when: there is one, as where a `train` does not hand on its mode.
    Warns when: it stays on in layers with weights that are not registered: eval mode can't reach them, which is
        frozen_parameters.
    Source: torch.nn.functional.dropout, whose `training` is True by default.
    """
    stray = unregistered(subject)
    stuck = [*still_training(subject.model), *stray.norms]
    always = [call.place for call in _calls(subject) if call.name.endswith("dropout") and _drops(call)]
    if not stuck and not always:
        yield passed("dropout and batch normalisation follow eval mode")
        return
    elsewhere = len(stuck) == len(stray.norms) and bool(stray_tensors(subject))
    yield Judgement(
        Status.WARN if elsewhere else Status.FAIL,
        f"{len(stuck or always)} places of dropout or batch normalisation stay in train mode after eval()",
        value=len(stuck or always),
        threshold=0,
        where=Place.modules(*stuck[:SHOWN]) if stuck else together(always[:SHOWN]),
        fix="keep modules in nn.ModuleList or nn.ModuleDict"
        if stray.norms or stray.dropouts
        else "pass training=self.training to functional dropout, and call super().train(mode)",
    )


def _drops(call: Call) -> bool:
    return bool(flag(call, "training", 2, True)) and float(flag(call, "p", 1, 0.5)) > 0


@check(layer=Layer.MODEL, needs={"batch", "outputs"}, detects={"nondeterministic_eval": 0.92})
def nondeterministic_eval(subject: Subject, *, tolerance: float = 1e-5) -> Iterator[Judgement]:
    """Find models that draw random numbers in eval mode.

    Measures: the largest difference of two answers to the same input, over the largest output; 1 where their shapes
        differ.
    Fails when: the difference is above `tolerance`.
    Warns when: it is, and the model returns three tensors or more, as a variational autoencoder that draws on purpose.
    Not a fault when: dropout stays on, which is mode_not_propagated, or layers are called that the model does not know,
        which is frozen_parameters: neither is judged again.
    Source: Humbatova et al. 2020. The tolerance lies above the rounding of float32 numbers;
        tests/checks/model/test_every_fault.py holds cases on both sides.
    """
    if still_training(subject.model) or any(call.name.endswith("dropout") and _drops(call) for call in _calls(subject)):
        yield skipped("dropout stays on in eval mode, which is judged on its own")
        return
    x = sound_batch(subject).x
    finite_outputs(subject)
    model = subject.fresh_model().eval()
    first, again = answer(model, x, 1), answer(model, x, 2)
    moved = (
        float((again - first).abs().max()) / (float(first.abs().max()) + 1e-12) if again.shape == first.shape else 1.0
    )
    if moved > tolerance and unregistered(subject).weighted:
        yield skipped("layers that the model does not know, and may draw anew, are called: it is judged on its own")
        return
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        generative = len(list(output_tensors(model(x)))) > MOST_OUTPUTS
    yield judge(
        moved,
        above=tolerance,
        where=Place.part("eval mode"),
        otherwise=Status.WARN if generative else Status.FAIL,
        message=f"the same input twice in eval mode differs by {moved:.1e}",
        fix="draw random numbers only `if self.training`",
    )
