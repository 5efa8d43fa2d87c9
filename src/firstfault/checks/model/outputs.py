"""Do the outputs fit the labels and the loss? One forward pass of the fresh model, judged by shape and range."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from firstfault.check import Judgement, check, passed, skipped
from firstfault.finding import Layer, Status

ON_LOGITS = (nn.CrossEntropyLoss, nn.BCEWithLogitsLoss)
LOSS_FUNCTIONS = {
    "cross_entropy": "CrossEntropyLoss", "nll_loss": "NLLLoss", "binary_cross_entropy": "BCELoss",
    "binary_cross_entropy_with_logits": "BCEWithLogitsLoss", "mse_loss": "MSELoss", "l1_loss": "L1Loss",
}


def loss_name(subject: Any) -> str:
    """The class name of the target's loss; functions of torch.nn.functional count as their classes."""
    loss = subject.recipe.training.loss
    if loss is None:
        return "default"
    name = getattr(loss, "__name__", type(loss).__name__)
    return LOSS_FUNCTIONS.get(name, name)


def rows_sum_to_one(outputs: torch.Tensor) -> bool:
    """Whether every row `(…, K)` is a probability distribution."""
    sums = outputs.sum(-1)
    return bool((outputs >= 0).all() and torch.allclose(sums, torch.ones_like(sums), atol=1e-4))


def probed_outputs(subject: Any) -> torch.Tensor:
    """Outputs of the fresh model on the batch, and on a widened copy of it, so that ranges show."""
    from firstfault.recipe import outputs_of

    x = subject.batch.x
    if not x.is_floating_point():
        return subject.outputs  # type: ignore[no-any-return]
    with torch.no_grad():
        wide = outputs_of(subject.model(x * 10 - x.mean()))
    return torch.cat([subject.outputs, wide]) if torch.isfinite(wide).all() else subject.outputs


@check(layer=Layer.MODEL, needs={"outputs", "batch"}, detects={"output_shape_mismatch": 0.95})
def output_shape_mismatch(subject: Any) -> Iterator[Judgement]:
    """Find outputs whose shape does not fit the labels or the loss.

    Source: Neuralint (Nikanjam et al. 2021), rule on the last layer's width.
    """
    outputs, y, recipe = subject.outputs, subject.batch.y, subject.recipe
    if len(outputs) != len(y):
        yield _misfit(f"{len(y)} samples give {len(outputs)} outputs")
        return
    if recipe.task == "classification" and outputs.ndim == 2:
        width, classes = outputs.shape[1], recipe.classes
        fits = width >= classes or (width == 1 and classes <= 2)
        if not fits:
            yield _misfit(f"{width} outputs for {classes} classes")
            return
        if width > classes > 0 and width > 1:
            yield Judgement(
                Status.WARN, f"{width} outputs for {classes} classes: {width - classes} are never used", value=width,
                threshold=classes, fix="make the output width the number of classes",
            )
            return
    elif recipe.task in ("regression", "multilabel") and outputs.numel() != y.numel():
        yield _misfit(f"outputs {tuple(outputs.shape)} for labels {tuple(y.shape)}")
        return
    yield from _try_loss(subject, outputs, y)


def _try_loss(subject: Any, outputs: torch.Tensor, y: torch.Tensor) -> Iterator[Judgement]:
    if subject.recipe.training.fit is not None and subject.recipe.training.loss is None:
        yield passed(f"outputs are {tuple(outputs.shape)} for labels {tuple(y.shape)}")
        return
    try:
        subject.recipe.loss(outputs, y)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        text = str(error).splitlines()[0]
        if "between 0 and 1" in text or "elements of input" in text:
            yield skipped("the loss refuses the range of the outputs, not their shape")
            return
        yield _misfit(f"the loss refuses outputs {tuple(outputs.shape)} and labels {tuple(y.shape)}: {text}")
        return
    yield passed(f"outputs are {tuple(outputs.shape)} for labels {tuple(y.shape)}")


def _misfit(text: str) -> Judgement:
    return Judgement(Status.FAIL, text, where="output layer", fix="make the output width the number of classes or targets")


@check(layer=Layer.MODEL, needs={"outputs"}, detects={"single_unit_softmax": 0.98})
def single_unit_softmax(subject: Any) -> Iterator[Judgement]:
    """Find a softmax over one unit, which is 1 whatever the input.

    Source: UMLAUT (Schoop et al. 2021); NeuraLint.
    """
    outputs = probed_outputs(subject)
    if outputs.ndim != 2 or outputs.shape[1] != 1:
        yield skipped("the model has more than one output unit")
        return
    if bool((outputs == 1).all()):
        yield Judgement(
            Status.FAIL, "the only output is 1.0 for every input: softmax over one unit", value=1.0, where="output layer",
            fix="use sigmoid (or no activation and BCEWithLogitsLoss), or one unit per class",
        )
        return
    yield passed("the output varies")


@check(layer=Layer.MODEL, needs={"outputs"}, detects={"redundant_softmax": 0.95})
def redundant_softmax(subject: Any) -> Iterator[Judgement]:
    """Find probabilities where the loss applies softmax itself; the loss then cannot fall to 0.

    Source: UMLAUT; the floor of the loss is ln(e + K − 1) − 1.
    """
    outputs = probed_outputs(subject)
    width = outputs.shape[-1] if outputs.ndim > 1 else 1
    if loss_name(subject) not in ("CrossEntropyLoss", "default") or subject.recipe.task == "regression" or width < 2:
        yield skipped("the loss applies no softmax of its own")
        return
    if rows_sum_to_one(outputs):
        floor = float(torch.tensor(torch.e + width - 1).log() - 1)
        yield Judgement(
            Status.FAIL, f"the outputs are probabilities already, so the loss cannot fall below {floor:.2f}", value=floor,
            threshold=0.0, where="output layer", fix="return logits: CrossEntropyLoss applies log-softmax itself",
        )
        return
    yield passed("the outputs are no probabilities, as the loss expects")


@check(layer=Layer.MODEL, needs={"outputs"}, detects={"missing_output_activation": 0.95})
def missing_output_activation(subject: Any) -> Iterator[Judgement]:
    """Find raw outputs where the loss expects probabilities (BCELoss) or log-probabilities (NLLLoss).

    Source: Humbatova et al. 2020, missing or wrong last activation.
    """
    name, outputs = loss_name(subject), probed_outputs(subject)
    if name == "BCELoss" and bool(((outputs < 0) | (outputs > 1)).any()):
        low, high = float(outputs.min()), float(outputs.max())
        yield Judgement(
            Status.FAIL, f"BCELoss expects probabilities, but the outputs reach from {low:.2f} to {high:.2f}", value=high,
            threshold=1.0, where="output layer", fix="add a sigmoid, or use BCEWithLogitsLoss",
        )
    elif name == "NLLLoss" and outputs.ndim >= 2 and not rows_sum_to_one(outputs.exp()):
        yield Judgement(
            Status.FAIL, "NLLLoss expects log-probabilities, but the exponentials of the outputs do not sum to 1",
            where="output layer", fix="add log_softmax, or use CrossEntropyLoss",
        )
    else:
        yield passed("the outputs are what the loss expects")


@check(layer=Layer.MODEL, needs={"outputs", "batch"}, detects={"wrong_output_activation": 0.92})
def wrong_output_activation(subject: Any, *, beyond: float = 0.1) -> Iterator[Judgement]:
    """Find an output activation that cannot reach the labels, or that the loss applies again.

    Sigmoid, tanh, softmax or ReLU on a regression whose labels lie outside their range (`value` is the
    share of such labels, a fault above `beyond`); softmax on several labels; sigmoid before BCEWithLogitsLoss.

    Source: UMLAUT; TheDeepChecker, output range.
    """
    recipe, outputs = subject.recipe, probed_outputs(subject)
    name = loss_name(subject)
    if recipe.task == "regression":
        yield _regression(recipe.train.y, outputs, beyond)
    elif recipe.task == "multilabel" and outputs.ndim == 2 and outputs.shape[1] > 1 and rows_sum_to_one(outputs):
        yield _wrong("softmax makes the labels exclude each other, but several can be true", "use sigmoid per label")
    elif name == "BCEWithLogitsLoss" and bool(((outputs >= 0) & (outputs <= 1)).all()) and float(outputs.std()) > 0:
        yield _wrong("the outputs lie within 0 and 1, but BCEWithLogitsLoss applies sigmoid itself", "return logits")
    else:
        yield passed("the output activation fits")


def _regression(y: torch.Tensor, outputs: torch.Tensor, beyond: float) -> Judgement:
    y = y.float()
    low, high = float(outputs.min()), float(outputs.max())
    for title, bottom, top in (("sigmoid or softmax", 0.0, 1.0), ("tanh", -1.0, 1.0), ("ReLU", 0.0, float("inf"))):
        if low < bottom - 1e-6 or high > top + 1e-6:
            continue
        unreachable = float(((y < bottom - 1e-6) | (y > top + 1e-6)).float().mean())
        flat = title == "ReLU" and low > 0                       # no output at the bound: no ReLU at the end
        bounded = title != "tanh" or max(abs(low), abs(high)) > 0.9
        if unreachable > beyond and bounded and not flat:
            return _wrong(
                f"the outputs lie in [{low:.2g}, {high:.2g}], as of {title}, which {unreachable:.0%} of the labels do not",
                "end in a linear layer",
            )
    return passed("the outputs can reach the labels")


def _wrong(text: str, fix: str) -> Judgement:
    return Judgement(Status.FAIL, text, where="output layer", fix=fix)
