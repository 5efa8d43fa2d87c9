"""What becomes of each softmax of a forward pass: the axis that it runs over, and the one that is summed after it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from firstfault.subject.memo import memo
from firstfault.subject.model_inputs import sound_batch
from firstfault.subject.subject import Subject
from firstfault.training.recipe import Recipe, outputs_of
from firstfault.training.torch_calls import Call, followed, name_of, softmax_axis

SOFTMAX = ("softmax", "log_softmax")
KEEPING = frozenset(
    {"dropout", "masked_fill", "to", "type_as", "float", "double", "half", "contiguous", "clone", "nan_to_num"}
)
"""Functions that leave every weight where it is."""
LEFT = ("matmul", "bmm")


@dataclass(frozen=True)
class Softmax:
    """One softmax: its call, and the axis it runs over.

    `summed` is the axis over which its result is summed in a product with other values, where it is.
    """

    call: Call
    axis: int
    summed: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of its result."""
        return tuple(self.call.result.shape)


@dataclass(frozen=True)
class _Weights:
    """A tensor that holds the result of a softmax, and the axis of the softmax that each of its own axes is."""

    number: int
    axes: tuple[int, ...]


class _Flow(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[Softmax] = []
        self.inside: list[str] = []
        self.known: dict[int, tuple[torch.Tensor, _Weights]] = {}  # the tensor is kept, so that its id stays its own

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = name_of(func), kwargs or {}
        result = func(*args, **kwargs)
        if name in SOFTMAX and isinstance(result, torch.Tensor):
            self._begin(name, args, kwargs, result)
        elif self.known:
            self._follow(name, args, result)
        return result

    def _begin(self, name: str, args: Any, kwargs: Any, result: torch.Tensor) -> None:
        call = Call(name, self.inside[-1] if self.inside else "", args or (result,), kwargs, result)
        axis = softmax_axis(call)
        if axis is not None:
            self.known[id(result)] = (result, _Weights(len(self.found), tuple(range(result.ndim))))
            self.found.append(Softmax(call, axis))

    def _follow(self, name: str, args: Any, result: Any) -> None:
        if name == "einsum":
            self._contract_einsum(args)
        elif name in LEFT and len(args) == 2:
            self._contract(args[0], -1, args[1])
            self._contract(args[1], -2, args[0])
        elif args and isinstance(result, torch.Tensor) and (weights := self._of(args[0])) is not None:
            axes = _moved(name, weights.axes, args[0], result)
            if axes is not None:
                self.known[id(result)] = (result, replace(weights, axes=axes))

    def _of(self, value: Any) -> _Weights | None:
        return self.known[id(value)][1] if id(value) in self.known else None

    def _contract(self, value: Any, axis: int, other: Any) -> None:
        """Note the axis of a softmax over which a product sums.

        Of a product of two of them, neither is the weights of the other.
        """
        weights = self._of(value)
        if weights is not None and self._of(other) is None and len(weights.axes) >= 2:
            self.found[weights.number] = replace(self.found[weights.number], summed=weights.axes[axis])

    def _contract_einsum(self, args: Any) -> None:
        operands = list(args[1]) if len(args) == 2 and isinstance(args[1], list | tuple) else list(args[1:])
        if not isinstance(args[0], str) or "->" not in args[0] or len(operands) != 2:
            return
        given, _, left = args[0].replace(" ", "").partition("->")
        labels = given.split(",")
        for own, other in ((0, 1), (1, 0)):
            summed = [place for place, label in enumerate(labels[own]) if label not in left and label in labels[other]]
            if len(summed) == 1 and "." not in labels[own]:
                self._contract(operands[own], summed[0], operands[other])


def _moved(name: str, axes: tuple[int, ...], given: torch.Tensor, result: torch.Tensor) -> tuple[int, ...] | None:
    """The axes of a softmax's result after a function that changes none of its weights, or only the order of its axes.

    None after others.
    """
    if result.ndim != given.ndim or result.numel() != given.numel():
        return None
    if name in KEEPING:
        return axes
    if (
        result.data_ptr() != given.data_ptr()
        or len(set(given.stride())) < given.ndim
        or set(result.stride()) != set(given.stride())
    ):
        return None
    return tuple(axes[given.stride().index(stride)] for stride in result.stride())


@memo(of="model")
def softmaxes(subject: Subject) -> list[Softmax]:
    """The softmax calls of one forward pass in eval mode, and of the declared loss on its outputs; followed once."""
    model, batch = subject.fresh_model().eval(), sound_batch(subject)
    return _followed(model, batch.x, batch.y, subject.recipe)


def _followed(model: nn.Module, x: torch.Tensor, y: torch.Tensor, recipe: Recipe) -> list[Softmax]:
    flow = _Flow()
    with followed(model, flow.inside), torch.random.fork_rng(devices=[]), torch.no_grad(), flow:
        outputs = outputs_of(model(x))
        if recipe.training.fit is None:
            try:
                recipe.loss(outputs, y)
            except Exception:  # another check says what the loss refuses
                return flow.found
    return flow.found
