"""Which parameters a forward pass takes, call by call: of modules, of bare functions, tied and parametrised ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from firstfault.training.tensors import tensors_in
from firstfault.training.torch_calls import followed, name_of

WEIGHED = frozenset(
    {
        "linear",
        "bilinear",
        "conv1d",
        "conv2d",
        "conv3d",
        "conv_transpose1d",
        "conv_transpose2d",
        "conv_transpose3d",
        "lstm",
        "gru",
        "rnn_tanh",
        "rnn_relu",
        "lstm_cell",
        "gru_cell",
        "rnn_tanh_cell",
        "rnn_relu_cell",
        "multi_head_attention_forward",
    }
)
"""Functions that always take a weight."""
PRODUCTS = WEIGHED | {"matmul", "rmatmul", "mm", "bmm", "addmm", "baddbmm", "einsum", "tensordot"}
LOOKUPS = frozenset({"embedding", "embedding_bag"})


@dataclass(frozen=True)
class Use:
    """One call of a torch function that takes parameters: their names.

    `units` holds by name the axis along which a parameter's units lie, where it is known.
    """

    function: str
    parameters: tuple[str, ...]
    units: dict[str, int]

    @property
    def weighs(self) -> bool:
        """Whether the parameters are multiplied by, or looked up in."""
        return self.function in PRODUCTS or self.function in LOOKUPS


class _Tape(TorchFunctionMode):
    """Parameters are told by their memory, so that a tied weight, a view or a transpose is the parameter itself."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.uses = model, list[Use]()
        self.inside: list[str] = []
        self.names = {_memory(value): name for name, value in model.named_parameters()}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self._note(name_of(func), list(tensors_in((args, kwargs))))
        return func(*args, **kwargs)

    def _note(self, function: str, given: list[torch.Tensor]) -> None:
        taken = {self.names[_memory(value)]: value for value in given if _memory(value) in self.names}
        names = tuple(taken)
        if function in WEIGHED and not any(value.ndim > 1 for value in taken.values()):
            names = self._computed()
        if names:
            self.uses.append(
                Use(
                    function,
                    names,
                    {
                        name: axis
                        for name, value in taken.items()
                        if (axis := self._axis(function, name, value, given)) is not None
                    },
                )
            )

    def _computed(self) -> tuple[str, ...]:
        """The parameters from which the module that is running computes its weight."""
        place = self.inside[-1] if self.inside else ""
        module = self.model.get_submodule(place)
        found = module.named_parameters(prefix=place, recurse=nn.utils.parametrize.is_parametrized(module))
        return tuple(name for name, _ in found)

    def _axis(self, function: str, name: str, seen: torch.Tensor, given: list[torch.Tensor]) -> int | None:
        """The axis of a parameter along which its units lie.

        It is the first of a layer's weight, the last of a factor on the right.
        """
        if seen.ndim < 2:
            return None
        if function in WEIGHED:
            return 0
        if function not in ("matmul", "mm") or seen is not given[-1]:
            return None
        value = self.model.get_parameter(name)
        return next(
            (
                axis
                for axis in range(value.ndim)
                if value.stride(axis) == seen.stride(-1) and len(value.shape) == seen.ndim
            ),
            None,
        )


def _memory(value: torch.Tensor) -> int:
    return 0 if value.is_sparse or value.numel() == 0 else value.untyped_storage().data_ptr()


def weights_used(model: nn.Module, x: torch.Tensor) -> list[Use]:
    """The calls of one forward pass that take parameters, in order; model and random state stay as they were."""
    tape = _Tape(model)
    with followed(model, tape.inside), torch.no_grad(), torch.random.fork_rng(devices=[]), tape:
        model(x)
    return tape.uses
