"""What the loss functions of torch are given: shapes that spread against each other, and numbers of a kind they don't
take.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from firstfault.metrics import NEAR_ONE
from firstfault.probe.code_lines import user_line
from firstfault.probe.handwritten_losses import is_similarity, logarithm_of, softmax_over_samples, spread_operands
from firstfault.probe.record import Record, Spread
from firstfault.training.answers import answers_in
from firstfault.training.losses import OF_CLASSES, OF_LOG_SHARES, OF_NUMBERS, OF_SHARES, are_distributions

MOST_ROWS, MOST_TARGETS, FIRST = 64, 4_096, 4
"""Rows, targets, and samples of outputs with positions: bound the time of a sampled step."""
FEWEST_PAIRED = 4
"""Rows of which each has a partner of its own: of fewer, one may be that of all by chance."""
WRITTEN_OUT = "logarithm"  # of a cross-entropy that the loop writes out
SOFTMAX = "softmax"  # that a written-out loss is of
UNNORMALISED = 0.1  # of a log-sum-exp: 0 of log-probabilities, also of those that were rounded or kept from -inf
PASSING = (
    "ToCopyBackward0",
    "ViewBackward0",
    "UnsafeViewBackward0",
    "ReshapeAliasBackward0",
    "SqueezeBackward0",
    "SqueezeBackward1",
    "TransposeBackward0",
    "PermuteBackward0",
    "CloneBackward0",
    "SelectBackward0",
    "SliceBackward0",
    "IndexBackward0",
    "IndexSelectBackward0",
)
ACTIVATIONS = {
    "SigmoidBackward0": "sigmoid",
    "ReluBackward0": "relu",
    "SoftmaxBackward0": "softmax",
    "LogSoftmaxBackward0": "log_softmax",
}


class LossInputs:
    """Notes in the record what loss functions are given on the sampled steps."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._answers: list[torch.Tensor] = []

    def answered(self, outputs: Any) -> None:
        """A model answered, with gradients on, on a sampled step."""
        self._answers = [value.detach() for value in answers_in(outputs)]

    def called(self, name: str, outputs: Any, target: Any) -> None:
        """A loss function was called with gradients on, on a sampled step: its shapes may be spread."""
        if name not in OF_NUMBERS or name in self._record.spread:
            return
        if isinstance(outputs, torch.Tensor) and isinstance(target, torch.Tensor) and _spreads(outputs, target):
            self._record.spread[name] = Spread(tuple(outputs.shape), tuple(target.shape), user_line())

    def learnt(self, loss: torch.Tensor) -> None:
        """A backward pass begins on a sampled step: a loss may be written out, or be known by another name."""
        found = None if self._record.spread else spread_operands(loss)
        if found is not None:
            self._record.spread[""] = Spread(*found, user_line())
        over_samples = softmax_over_samples(loss)
        if over_samples is not None:
            seen = self._record.loss_inputs.setdefault(SOFTMAX, {"calls": 0, "samples": 0})
            seen["calls"] += 1
            seen["samples"] += over_samples
        given = logarithm_of(loss)
        if given is not None:
            seen = self._record.loss_inputs.setdefault(WRITTEN_OUT, {"calls": 0})
            seen["calls"] += 1
            seen[given] = seen.get(given, 0) + 1

    def sampled(self, name: str, outputs: Any, target: Any, value: Any, *, log_target: bool = False) -> None:
        """A loss function was called with gradients on, on a sampled step."""
        looked_at = name in OF_CLASSES + OF_SHARES + OF_LOG_SHARES
        if not looked_at or not isinstance(outputs, torch.Tensor) or outputs.numel() < 2:
            return
        seen = self._record.loss_inputs.setdefault(name, dict.fromkeys(("calls", "probabilities", "unnormalised"), 0))
        seen["calls"] += 1
        if activation := _activation(outputs):
            seen[activation] = seen.get(activation, 0) + 1
        with torch.no_grad():
            if name in OF_CLASSES:
                _look_at_classes(seen, outputs.detach())
                seen["one_partner"] = seen.get("one_partner", 0) + have_one_partner(outputs, target)
                seen["scrambled"] = seen.get("scrambled", 0) + any(
                    is_scrambled(outputs.detach(), answer) for answer in self._answers
                )
            elif name in OF_LOG_SHARES:
                seen["positive"] = seen.get("positive", 0) + bool((outputs > NEAR_ONE).any())
                if name == "kl_div" and not log_target and isinstance(target, torch.Tensor) and target.numel():
                    _look_at_shares(seen, target.detach().reshape(-1), value)
            elif isinstance(target, torch.Tensor) and target.numel():
                _look_at_shares(seen, target.detach().reshape(-1), value)


def have_one_partner(outputs: torch.Tensor, target: Any) -> bool:
    """Whether similarities `(N, N)` of all pairs of two lists are to be largest for the same entry in every row."""
    if outputs.ndim != 2 or len(outputs) != outputs.shape[1] or len(outputs) < FEWEST_PAIRED:
        return False
    if not isinstance(target, torch.Tensor) or target.is_floating_point() or target.shape != outputs.shape[:1]:
        return False
    return bool((target == target[0]).all()) and is_similarity(outputs)


def is_scrambled(rows: torch.Tensor, answer: torch.Tensor) -> bool:
    """Whether rows `(M, K)` over classes are a model's answer with an axis for the classes and some for positions, laid
    out so that a row holds numbers of several positions.
    """
    if rows.ndim != 2 or answer.ndim < 3 or rows.numel() != answer.numel() or not len(rows):
        return False
    classes = rows.shape[1]
    ahead, last = answer.shape[1] == classes, answer.shape[-1] == classes
    if ahead == last or answer.shape[-1] == 1:
        return False
    laid_out = answer if ahead else answer.transpose(1, -1)
    return torch.equal(laid_out.reshape(-1, classes)[:MOST_ROWS], rows[:MOST_ROWS])


def _spreads(outputs: torch.Tensor, target: torch.Tensor) -> bool:
    """Whether as many numbers on both sides give more differences: `(N, 1)` against `(N,)`.

    On purpose, the axes are as many.
    """
    if outputs.ndim == target.ndim or outputs.numel() != target.numel() or outputs.numel() < 2:
        return False
    both = np.broadcast_shapes(tuple(outputs.shape), tuple(target.shape))
    return math.prod(both) > outputs.numel()


def _activation(outputs: torch.Tensor) -> str | None:
    """The function whose result the loss is given, as autograd knows it."""
    node: Any = outputs.grad_fn
    while node is not None and node.name() in PASSING and node.next_functions:
        node = node.next_functions[0][0]
    return ACTIVATIONS.get(node.name()) if node is not None else None


def _look_at_classes(seen: dict[str, float], outputs: torch.Tensor) -> None:
    """Whether rows over classes are probabilities, and whether they are no logarithms of such."""
    rows = _rows(outputs)
    if rows is None:
        return
    seen["probabilities"] += are_distributions(rows, outputs.dtype)
    seen["unnormalised"] += bool(rows.logsumexp(-1).abs().mean() > UNNORMALISED)


def _rows(outputs: torch.Tensor) -> torch.Tensor | None:
    """At most some 64 rows `(M, K)` of outputs `(N, K)` or `(N, K, …)`."""
    if outputs.ndim < 2 or outputs.shape[1] < 2 or not len(outputs):
        return None
    if outputs.ndim == 2:
        return outputs[:: -(-len(outputs) // MOST_ROWS)].float()
    first = outputs[:FIRST].flatten(2)
    return first[:, :, :: -(-first.shape[2] * FIRST // MOST_ROWS)].float().movedim(1, -1).flatten(0, 1)


def _look_at_shares(seen: dict[str, float], target: torch.Tensor, value: Any) -> None:
    """The least and the largest target, and the lowest mean loss."""
    low, high = target[:: -(-len(target) // MOST_TARGETS)].float().aminmax()
    seen["low"], seen["high"] = min(seen.get("low", 0.0), float(low)), max(seen.get("high", 1.0), float(high))
    seen["loss"] = min(seen.get("loss", 0.0), float(value.detach().float().mean()))
