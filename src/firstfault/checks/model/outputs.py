"""Do the outputs fit the labels in shape, and do they depend on the inputs at all?"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from firstfault.check import Judgement, check, judge, passed, skipped
from firstfault.checks.model._output_range import reach
from firstfault.errors import Missing
from firstfault.finding import Layer, Status
from firstfault.place import OUTPUT_LAYER
from firstfault.subject.loss_call import LossCall, loss_call
from firstfault.subject.model_inputs import finite_outputs, sound_batch, sound_outputs
from firstfault.subject.subject import Subject
from firstfault.training.losses import ELEMENTWISE
from firstfault.training.recipe import Recipe

ABOUT_SHAPE = ("size", "shape", "dimension", "out of bounds", "must match", "out of range", "expected input batch_size")


@check(layer=Layer.MODEL, needs={"batch", "labels", "outputs"}, detects={"output_shape_mismatch": 0.95})
def output_shape_mismatch(subject: Subject) -> Iterator[Judgement]:
    """Find outputs whose shape does not fit the labels or the loss, or is broadcast against the labels.

    Measures: the shapes of outputs and labels, and of what the loss is called with, in the user's own loop too. Outputs
        `(N, 1)` against labels `(N,)` give N × N differences without an error.
    Fails when: the number of outputs is not that of the labels, there are fewer outputs than classes, the loss refuses
        the shapes, or they are broadcast.
    Warns when: there are more outputs than classes; `value` is how many more.
    Not a fault when: a loss of the user's own takes outputs of another width: one per quantile, or per threshold of an
        ordinal label.
    Source: Nikanjam et al. 2021, Neuralint, rule on the last layer's width; benchmarks/localise.py, fault
        output_shape_mismatch.
    """
    batch, outputs = sound_batch(subject), sound_outputs(subject)
    call = loss_call(subject)
    text = _misfit(subject.recipe, outputs, batch.y, call)
    if text is None and call.spread is not None:
        text = f"{call.spread[0]} against {call.spread[1]} is broadcast to {len(batch)} × {len(batch)} differences"
    if text is None and call.error is not None and any(word in str(call.error).lower() for word in ABOUT_SHAPE):
        reason = str(call.error).splitlines()[0]
        text = f"the loss refuses outputs {tuple(outputs.shape)} and labels {tuple(batch.y.shape)}: {reason}"
    if text is not None and not _about_range(call.error):
        yield Judgement(
            Status.FAIL,
            text,
            where=OUTPUT_LAYER,
            fix="make the output width the number of classes or targets, and the shapes of outputs and labels equal",
        )
        return
    surplus = _surplus(subject.recipe, outputs)
    if surplus > 0:
        yield Judgement(
            Status.WARN,
            f"{surplus} of {outputs.shape[1]} outputs belong to no class",
            value=surplus,
            threshold=0,
            where=OUTPUT_LAYER,
            faults={},
            fix="make the output width the number of classes",
        )
        return
    yield passed(f"outputs are {tuple(outputs.shape)} for labels {tuple(batch.y.shape)}")


def _about_range(error: Exception | None) -> bool:
    return error is not None and ("between 0 and 1" in str(error) or "elements of input" in str(error))


def _misfit(recipe: Recipe, outputs: torch.Tensor, y: torch.Tensor, call: LossCall) -> str | None:
    if outputs.ndim == 0 or (len(outputs) != len(y) and recipe.task != "language_model"):
        return f"{len(y)} samples give outputs of shape {tuple(outputs.shape)}"
    if _own_shapes(recipe, call):
        return None
    if recipe.task == "classification" and y.ndim == 1 and outputs.ndim <= 2 and recipe.classes > 1:
        width = outputs.shape[1] if outputs.ndim == 2 else 1
        if width < recipe.classes and not (width == 1 and recipe.classes == 2):
            return f"{width} output{'s' * (width > 1)} for {recipe.classes} classes"
    if recipe.task in ("regression", "multilabel") and outputs.numel() != y.numel():
        return f"outputs {tuple(outputs.shape)} for labels {tuple(y.shape)}"
    return None


def _own_shapes(recipe: Recipe, call: LossCall) -> bool:
    """Whether the user's own loss makes outputs and labels fit.

    Examples are thresholds of an ordinal label, quantiles, and a mean with its variance. A loss of torch that is called
    there is given as many numbers as labels. Broadcast differences are judged by themselves.
    """
    loss = recipe.training.loss
    own = recipe.training.fit is not None or (
        loss is not None
        and not isinstance(loss, nn.Module)
        and getattr(loss, "__module__", "") != "torch.nn.functional"
    )
    if not own or call.error is not None:
        return False
    if call.name is None or call.input is None or call.target is None:
        return not call.broken
    return call.name in ELEMENTWISE and call.input.shape == call.target.shape


def _surplus(recipe: Recipe, outputs: torch.Tensor) -> int:
    if recipe.task != "classification" or outputs.ndim != 2 or recipe.classes < 2:
        return 0
    return max(0, int(outputs.shape[1]) - recipe.classes)


@check(
    layer=Layer.MODEL,
    needs={"outputs", "batch"},
    detects={"constant_init": 0.3, "dead_relu": 0.3, "detached_graph": 0.3},
)
def constant_output(subject: Subject, *, spread: float = 1e-7) -> Iterator[Judgement]:
    """Find outputs that are the same for every sample.

    Measures: the largest distance of an output to that of the first sample, over the largest output.
    Warns when: it is below `spread`. It never fails: a last layer that starts at zero gives this rightly.
    Source: Karpathy 2019, "input-independent baseline". The bound is the rounding of float32 numbers.
    """
    x, outputs = sound_batch(subject).x, finite_outputs(subject)
    if len(outputs) != len(x) or len(x) < 2 or bool((x == x[:1]).all()):
        yield skipped("there are no two different samples with an output each")
        return
    value = float((outputs - outputs[:1]).abs().max()) / max(float(outputs.abs().max()), 1e-12)
    yield judge(
        value,
        below=spread,
        otherwise=Status.WARN,
        where=OUTPUT_LAYER,
        message=f"the outputs of {len(x)} different samples differ by {value:.1e}, relative to their size",
        fix="look for a layer that loses the inputs: constant weights, dead units, softmax over one unit",
    )


@check(layer=Layer.MODEL, needs={"outputs", "batch"}, detects={"single_unit_softmax": 0.98})
def single_unit_softmax(subject: Subject) -> Iterator[Judgement]:
    """Find a softmax over one unit, which is 1 whatever the input and the weights (its logarithm is 0).

    Measures: the number that a model of one output unit answers, while the weights of its last layer are drawn wide.
    Fails when: it is always 0, or always 1.
    Source: Schoop et al. 2021, UMLAUT; Nikanjam et al. 2021, Neuralint; benchmarks/localise.py, fault
        single_unit_softmax.
    """
    outputs = sound_outputs(subject)
    if outputs.ndim > 1 and outputs.shape[-1] != 1:
        yield skipped("the model has more than one output unit")
        return
    try:
        only = reach(subject).constant
    except Missing:
        only = float(outputs.flatten()[0]) if bool((outputs == outputs.flatten()[0]).all()) else None
    if only in (0.0, 1.0):
        yield Judgement(
            Status.FAIL,
            f"the only output is {only:.1f} for every input and every weight: softmax over one unit",
            value=only,
            where=OUTPUT_LAYER,
            fix="use sigmoid (or no activation and BCEWithLogitsLoss), or one unit per class",
        )
        return
    yield passed("the output varies")
