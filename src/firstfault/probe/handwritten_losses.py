"""Losses that a loop writes out, `((model(x) - y) ** 2).mean()`: read from what autograd has kept of them."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

SCALES = (
    "MeanBackward0",
    "MeanBackward1",
    "SumBackward0",
    "SumBackward1",
    "MulBackward0",
    "DivBackward0",
    "NegBackward0",
)
"""What may lie between the errors and the loss: it only weighs them, all alike."""
ERRORS = {"PowBackward0": "mse_loss", "AbsBackward0": "l1_loss"}
SHAPES = (
    "SqueezeBackward0",
    "SqueezeBackward1",
    "ViewBackward0",
    "ReshapeAliasBackward0",
    "UnsafeViewBackward0",
    "SelectBackward0",
    "UnsqueezeBackward0",
)
MOST = 8
"""Nodes in a row that may weigh or reshape one thing: a written-out loss has two or three."""
OF_DIFFERENCES = ("MseLossBackward0", "SmoothL1LossBackward0", "HuberLossBackward0")
"""Losses of torch, also where a loop knows them by a name that it took before it was watched."""
AROUND = (*SCALES, "SqrtBackward0", "AddBackward0", "SqueezeBackward0")
"""What may lie between differences and a loss that they are a part of."""
WRITTEN = (
    *AROUND,
    "PowBackward0",
    "ExpBackward0",
    "LogBackward0",
    "SigmoidBackward0",
    "LogSigmoidBackward0",
    "SoftplusBackward0",
    "RsubBackward0",
    "RsubBackward1",
    "SubBackward0",
    "ClampBackward0",
    "ClampBackward1",
    "ClampMinBackward0",
    "MinimumBackward0",
    "WhereBackward0",
)
"""What a written-out loss is made of, number by number."""
SOFTMAX = ("SoftmaxBackward0", "LogSoftmaxBackward0")
KEPT = {"MulBackward0": ("_saved_self", "_saved_other"), "WhereBackward0": ("_saved_condition",)}
"""What autograd keeps of the numbers that outputs are weighed or chosen by."""
MOST_AROUND = 48
"""Nodes looked at around a loss: bounds the time of a step in a loss of many terms."""
OF_LIKELIHOODS = (
    *AROUND,
    *SHAPES,
    "GatherBackward0",
    "IndexBackward0",
    "IndexSelectBackward0",
    "MaskedSelectBackward0",
    "DiagonalBackward0",
    "TransposeBackward0",
    "PermuteBackward0",
    "NllLossBackward0",
    "NllLoss2DBackward0",
)
"""What may lie between logarithms and a loss that is made of nothing else: it chooses, weighs and adds them up."""
SAFE = (
    *SHAPES,
    "RsubBackward0",
    "RsubBackward1",
    "ClampBackward0",
    "ClampBackward1",
    "ClampMinBackward0",
    "MaximumBackward0",
    "WhereBackward0",
    "AddBackward0",
    "ToCopyBackward0",
)
"""What may lie between outputs and their logarithm, and makes no probabilities of them."""
LOGARITHMS = ("LogBackward0", "Log2Backward0", "Log10Backward0")
BARE = {
    **dict.fromkeys(("AddmmBackward0", "MmBackward0", "BmmBackward0", "ConvolutionBackward0"), "raw"),
    **dict.fromkeys(("LeakyReluBackward0", "EluBackward0", "GeluBackward0", "TanhBackward0"), "raw"),
    **dict.fromkeys(("ReluBackward0", "HardtanhBackward0"), "relu"),
}


class ByHand(NamedTuple):
    """The function of torch that a written-out loss equals, up to a factor, and what it would be given: outputs and
    target `(N, …)`.
    """

    name: str
    outputs: torch.Tensor
    target: torch.Tensor


def by_hand(loss: torch.Tensor, outputs: torch.Tensor) -> ByHand | None:
    """Squared or absolute errors of these outputs `(N, …)`, given the loss before its backward pass.

    None where it is anything else.
    """
    node: Any = next((node for node in _scales(loss.grad_fn) if node.name() in ERRORS), None)
    if node is None or getattr(node, "_saved_exponent", 2) != 2:
        return None
    error = node._saved_self.detach()
    difference = node.next_functions[0][0]
    if difference is None or not difference.name().startswith("SubBackward") or error.numel() != outputs.numel():
        return None
    operands = [operand for operand, _ in difference.next_functions]
    ours = [operand is not None for operand in operands]
    if sum(ours) != 1 or not _is_of(operands[ours.index(True)], outputs):
        return None
    given = outputs.detach().reshape(error.shape)
    return ByHand(ERRORS[node.name()], given, given - error if ours[0] else given + error)


def _scales(node: Any) -> Iterator[Any]:
    """From the loss back, as long as one thing alone was weighed."""
    for _ in range(MOST):
        if node is None:
            return
        yield node
        inputs = [function for function, _ in node.next_functions if function is not None]
        if node.name() not in SCALES or len(inputs) != 1:
            return
        node = inputs[0]


def _is_of(node: Any, outputs: torch.Tensor) -> bool:
    """Whether a node is that of the outputs, but for a shape of its own."""
    while node is not outputs.grad_fn and node.name() in SHAPES and node.next_functions[0][0] is not None:
        node = node.next_functions[0][0]
    return node is outputs.grad_fn


def spread_operands(loss: torch.Tensor) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """The shapes `(N, 1)` and `(N,)`, or the other way round, of which a loss makes N × N numbers.

    It squares their differences or takes the size of them, or it weighs or chooses outputs `(N, 1)` by numbers `(N,)`.
    Those that are put side by side on purpose, by `[:, None]`, are none.
    """
    waiting, seen = collections.deque([loss.grad_fn]), 0
    while waiting and seen < MOST_AROUND:
        node: Any = waiting.popleft()
        seen += 1
        if node is None:
            continue
        inputs = [function for function, _ in node.next_functions]
        if node.name() in OF_DIFFERENCES:
            found = _spread(node)
        elif inputs and all(map(_is_difference, inputs)) and node.name() in (*ERRORS, "MulBackward0"):
            found = _spread(inputs[0])
        else:
            found = _weighed(node)
            waiting += inputs if node.name() in WRITTEN else []
        if found is not None:
            return found
    return None


def _weighed(node: Any) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Outputs `(N, 1)` that are multiplied with numbers `(N,)`, or chosen by such."""
    size = _shape(node, 0)
    if node.name() not in KEPT or len(size) != 2 or size[0] != size[1] or size[0] < 2:
        return None
    column = (size[0], 1)
    if any(_shape(function, number) != column for function, number in node.next_functions if function is not None):
        return None
    flat = any(_kept_shape(node, name) == size[:1] for name in KEPT[node.name()])
    return (column, size[:1]) if flat else None


def _kept_shape(node: Any, name: str) -> tuple[int, ...] | None:
    try:
        value = getattr(node, name, None)
    except RuntimeError:  # it was changed in place since
        return None
    return tuple(value.shape) if isinstance(value, torch.Tensor) else None


def softmax_over_samples(loss: torch.Tensor) -> bool | None:
    """Whether a loss is made of a softmax of outputs `(N, K)` that runs over the samples, and of none over the classes.

    None where it is made of neither. Similarities of all pairs `(N, N)` have both on purpose.
    """
    waiting, seen = collections.deque([loss.grad_fn]), 0
    axes = set()
    while waiting and seen < MOST_AROUND:
        node: Any = waiting.popleft()
        seen += 1
        if node is None:
            continue
        size = _shape(node, 0)
        if node.name() in SOFTMAX and len(size) == 2 and size[0] != size[1] and min(size) > 1:
            axes.add(node._saved_dim in (0, 2**64 - 2))  # autograd keeps axes without a sign
        waiting += (
            [function for function, _ in node.next_functions] if node.name() in (*WRITTEN, *OF_LIKELIHOODS) else []
        )
    return axes == {True} if axes else None


def is_similarity(outputs: torch.Tensor) -> bool:
    """Whether outputs are a product of two matrices of which none is a parameter, weighed number by number."""
    node: Any = outputs.grad_fn
    for _ in range(MOST):
        inputs = [function for function, _ in node.next_functions if function is not None] if node is not None else []
        if node is not None and node.name() == "MmBackward0":
            return not any(map(_is_leaf, inputs))
        node = inputs[0] if len(inputs) == 1 and node.name() in (*WRITTEN, "MaskedFillBackward0") else None
    return False


def _is_leaf(node: Any) -> bool:
    """Whether a node is that of a parameter, or of what turns it round."""
    if node.name() == "TBackward0":
        node = node.next_functions[0][0]
    return bool(node.name() == "torch::autograd::AccumulateGrad")


def logarithm_of(loss: torch.Tensor) -> str | None:
    """What a written-out cross-entropy takes the logarithm of: `raw` outputs of a layer, those of a `relu`, or `other`
    numbers.
    """
    waiting, seen = [loss.grad_fn], 0
    while waiting and seen < MOST_AROUND:
        node: Any = waiting.pop()
        seen += 1
        if node is None or node.name() == "torch::autograd::AccumulateGrad":
            continue
        if node.name() in LOGARITHMS:
            return _bare(node.next_functions[0][0])
        if node.name() not in OF_LIKELIHOODS:
            return None
        waiting += [function for function, _ in node.next_functions]
    return None


def _bare(node: Any) -> str:
    for _ in range(MOST):
        if node is None or node.name() not in SAFE:
            break
        inputs = [function for function, _ in node.next_functions if function is not None]
        node = inputs[0] if len(inputs) == 1 else None
    return BARE.get(node.name(), "other") if node is not None else "other"


def _is_difference(node: Any) -> bool:
    return node is not None and node.name().startswith("SubBackward")


def _spread(difference: Any) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    operands = [(function, number) for function, number in difference.next_functions if function is not None]
    if len(operands) != 1:
        return None
    operand, number = operands[0]
    size = _shape(operand if operand.name() == "ExpandBackward0" else difference, 0)
    if operand.name() == "ExpandBackward0":
        operand, number = operand.next_functions[0]
    given, length = _shape(operand, number), size[0] if size else 0
    if operand is None or operand.name() == "UnsqueezeBackward0" or length < 2 or size != (length, length):
        return None
    return (given, (length,)) if given == (length, 1) else (given, (length, 1)) if given == (length,) else None


def _shape(node: Any, number: int) -> tuple[int, ...]:
    """The shape of what a node gave."""
    known = getattr(node, "_input_metadata", ())
    return tuple(known[number].shape) if number < len(known) else ()
