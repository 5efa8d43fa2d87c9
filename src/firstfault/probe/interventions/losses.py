"""Other calls of torch's loss functions: reduction, shapes, and the softmax before them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.nn import functional

from firstfault.probe.interventions.hooks import replaced
from firstfault.probe.interventions.intervention import Done, intervention
from firstfault.training.losses import ELEMENTWISE, LOSSES, OF_NUMBERS, OF_SHARES, are_distributions, is_one_hot

Given = dict[str, Any]
STEEP = 4.0
"""The slope by which a number about 0.5 is a score: that of the logistic function there is a quarter."""


@contextlib.contextmanager
def calls_of(names: tuple[str, ...], change: Callable[[str, Given], Given | torch.Tensor]) -> Iterator[None]:
    """Calls of these loss functions with the arguments that `change` makes of theirs, by name.

    Where it gives a tensor, that is the loss.
    """

    def called(name: str) -> Callable[[Any, tuple[Any, ...], Given], Any]:
        def call(loss: Any, args: tuple[Any, ...], kwargs: Given) -> Any:
            given = dict(zip(("input", "target"), args, strict=False)) | kwargs
            if len(args) > 2 or torch.compiler.is_compiling() or not _are_tensors(given):
                return loss(*args, **kwargs)
            changed = change(name, given)
            return changed if isinstance(changed, torch.Tensor) else loss(**changed)

        return call

    with contextlib.ExitStack() as stack:
        for name in names:
            stack.enter_context(replaced(functional, name, called(name)))
        yield


def _are_tensors(given: Given) -> bool:
    return all(isinstance(given.get(name), torch.Tensor) for name in ("input", "target"))


@intervention(change="the mean of the loss in place of its sum", undoes=("wrong_loss_reduction",), keeps_loss=False)
def mean_reduction(done: Done) -> Iterator[None]:
    """A loss that was to be summed is averaged."""

    def change(name: str, given: Given) -> Given:
        if given.get("reduction") != "sum":
            return given
        done.note(f"{name}: reduction='sum' → 'mean'")
        return {**given, "reduction": "mean"}

    with calls_of(LOSSES, change):
        yield


@intervention(
    change="targets in the shape of the outputs", undoes=("output_shape_mismatch", "wrong_loss"), keeps_loss=False
)
def equal_shapes(done: Done) -> Iterator[None]:
    """Outputs (N, 1) against targets (N), which broadcast to all pairs, are compared one by one."""

    def change(name: str, given: Given) -> Given:
        outputs, target = given["input"], given["target"]
        if outputs.shape == target.shape or outputs.numel() != target.numel():
            return given
        done.note(f"{name}: targets {tuple(target.shape)} → {tuple(outputs.shape)}, the shape of the outputs", name)
        return {**given, "target": target.reshape(outputs.shape)}

    with calls_of(ELEMENTWISE, change):
        yield


@intervention(
    change="raw outputs for the loss: the softmax before it is undone",
    undoes=("redundant_softmax", "wrong_output_activation"),
    keeps_loss=False,
)
def softmax_off(done: Done) -> Iterator[None]:
    """What is a distribution already is given to cross-entropy as logarithms, whose softmax it is."""

    def change(name: str, given: Given) -> Given:
        outputs = given["input"]
        if name == "cross_entropy" and _are_distributions(outputs):
            done.note("cross_entropy: softmax taken off its input", name)
            return {**given, "input": outputs.clamp_min(torch.finfo(outputs.dtype).tiny).log()}
        if name != "cross_entropy" and _are_shares(outputs):
            done.note(f"{name}: sigmoid taken off its input", name)
            return {**given, "input": torch.logit(outputs, eps=1e-6)}
        return given

    with calls_of(("cross_entropy", "binary_cross_entropy_with_logits"), change):
        yield


@intervention(
    change="the activation put on that the loss expects",
    undoes=("missing_output_activation", "wrong_output_activation"),
    keeps_loss=False,
)
def softmax_on(done: Done) -> Iterator[None]:
    """The negative log-likelihood of raw outputs is that of their log-softmax."""

    def change(name: str, given: Given) -> Given:
        outputs = given["input"]
        if outputs.ndim < 2 or _are_distributions(outputs.detach().exp()):
            return given
        done.note("nll_loss: log_softmax put on its input", name)
        return {**given, "input": outputs.log_softmax(1)}

    with calls_of(("nll_loss",), change):
        yield


@intervention(change="cross-entropy in place of a distance to the labels", undoes=("wrong_loss",), keeps_loss=False)
def class_loss(done: Done) -> Iterator[None]:
    """Outputs that are compared with the numbers of labels, 0 and 1, are taken for scores or probabilities of them."""

    def change(name: str, given: Given) -> Given | torch.Tensor:
        outputs, target = given["input"], given["target"]
        if given.get("reduction", "mean") not in ("mean", "sum") or not is_one_hot(target, outputs):
            return given
        if target.ndim == 2 and target.shape[1] > 1:
            done.note(f"cross_entropy in place of {name}", name)
            logs = _logs(outputs) if _are_distributions(outputs) else outputs.log_softmax(1)
            return _reduced(-(logs * target).sum(1), given)
        done.note(f"binary_cross_entropy in place of {name}", name)
        scores = torch.logit(outputs, eps=1e-6) if _are_shares(outputs) else STEEP * (outputs - 0.5)
        return _reduced(functional.softplus(scores) - scores * target, given)

    with calls_of(OF_NUMBERS, change):
        yield


@intervention(change="squared errors in place of cross-entropy of numbers", undoes=("wrong_loss",), keeps_loss=False)
def number_loss(done: Done) -> Iterator[None]:
    """Binary cross-entropy of targets beyond 0–1 is the squared error of the outputs without their sigmoid."""

    def change(name: str, given: Given) -> Given | torch.Tensor:
        outputs, target = given["input"], given["target"]
        inside = bool(((target >= 0) & (target <= 1)).all())
        if inside or outputs.shape != target.shape or given.get("reduction", "mean") not in ("mean", "sum"):
            return given
        done.note(f"mse_loss in place of {name}", name)
        values = outputs if name.endswith("logits") else torch.logit(outputs, eps=1e-6)
        return _reduced((values - target).square(), given)

    with calls_of(OF_SHARES, change):
        yield


def _reduced(losses: torch.Tensor, given: Given) -> torch.Tensor:
    return losses.sum() if given.get("reduction") == "sum" else losses.mean()


def _logs(shares: torch.Tensor) -> torch.Tensor:
    return shares.clamp_min(torch.finfo(shares.dtype).tiny).log()


def _are_distributions(outputs: torch.Tensor) -> bool:
    """Whether all is positive, and adds up to 1 over the classes."""
    return outputs.ndim > 1 and are_distributions(outputs.detach().movedim(1, -1))


def _are_shares(outputs: torch.Tensor) -> bool:
    values = outputs.detach()
    return values.numel() > 1 and bool(((values >= 0) & (values <= 1)).all())
