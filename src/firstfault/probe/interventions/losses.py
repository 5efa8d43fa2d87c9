"""Other calls of torch's loss functions: reduction, shapes, and the softmax before them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.nn import functional

from firstfault.probe.interventions.hooks import replaced
from firstfault.probe.interventions.intervention import Done, intervention
from firstfault.training.losses import ELEMENTWISE, LOSSES, NEAR_ONE

Given = dict[str, Any]


@contextlib.contextmanager
def _calls(names: tuple[str, ...], change: Callable[[str, Given], Given]) -> Iterator[None]:
    """Calls of these loss functions with the arguments that `change` makes of theirs, by name."""

    def called(name: str) -> Callable[[Any, tuple[Any, ...], Given], Any]:
        def call(loss: Any, args: tuple[Any, ...], kwargs: Given) -> Any:
            given = dict(zip(("input", "target"), args, strict=False)) | kwargs
            if len(args) > 2 or torch.compiler.is_compiling() or not _are_tensors(given):
                return loss(*args, **kwargs)
            return loss(**change(name, given))

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

    with _calls(LOSSES, change):
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

    with _calls(ELEMENTWISE, change):
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

    with _calls(("cross_entropy", "binary_cross_entropy_with_logits"), change):
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

    with _calls(("nll_loss",), change):
        yield


def _are_distributions(outputs: torch.Tensor) -> bool:
    """Whether all is positive, and adds up to 1 over the classes."""
    if outputs.ndim < 2 or outputs.shape[1] < 2 or not outputs.is_floating_point():
        return False
    values = outputs.detach().float()
    return bool((values >= 0).all()) and bool(((values.sum(1) - 1).abs() < NEAR_ONE).all())


def _are_shares(outputs: torch.Tensor) -> bool:
    values = outputs.detach()
    return values.numel() > 1 and bool(((values >= 0) & (values <= 1)).all())
