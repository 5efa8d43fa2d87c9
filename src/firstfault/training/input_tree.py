"""Prepared samples whose inputs are a tree of tensors: a tokenizer's encoding, a dict, a tuple, a dataclass."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import PackedSequence

from firstfault.data.splits import to_array
from firstfault.errors import TargetError
from firstfault.metrics import Array
from firstfault.training.call_tree import PLAIN, Arguments, mapped, names_of, put_together


def is_tree(value: Any) -> bool:
    """Whether a value holds several inputs by name or by place, and is not itself an array of samples."""
    known = dataclasses.is_dataclass(value) and not isinstance(value, type)
    return known or isinstance(value, Mapping | tuple)


def samples(X: Any, rows: int) -> Any:
    """Inputs that a step of preprocessing returned, as what is measured: a tree as one that acts like an array."""
    return InputTree(X, rows) if is_tree(X) else X


def as_returned(X: Any) -> Any:
    """Inputs as the user's code returned them, in a copy that the next step may change."""
    return copy.deepcopy(X.value) if isinstance(X, InputTree) else X


class InputTree:
    """The inputs of samples as a tree, that is measured like an array `(N, F)`: all their numbers, side by side.

    Args:
        value: the tree as the user's code made it; its leaves may be tensors, arrays, frames and lists of numbers.
        rows: how many samples there are.
    """

    ndim = 2
    dtype = np.dtype(np.float64)

    def __init__(self, value: Any, rows: int) -> None:
        self.value, self.rows = value, rows

    @functools.cached_property
    def arguments(self) -> Arguments:
        """The tree as the one argument of a call: its tensors, floats as float32 and whole numbers as int64."""
        return Arguments.of((mapped(self.value, _as_tensor),), {})

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """The tensors with a row for each sample, by their names."""
        return {name: value for name, value in self._named.items() if self._by_sample(value)}

    @property
    def _named(self) -> dict[str, torch.Tensor]:
        return dict(zip(names_of(self.arguments.slots), self.arguments.tensors, strict=True))

    def _by_sample(self, value: torch.Tensor) -> bool:
        return value.ndim > 0 and len(value) == self.rows

    @property
    def shape(self) -> tuple[int, int]:
        """Samples and numbers of each."""
        return self.rows, sum(value[:1].numel() for value in self.tensors.values())

    def __len__(self) -> int:
        return self.rows

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        parts = [value.reshape(self.rows, -1).double().numpy() for value in self.tensors.values()]
        return np.concatenate([np.zeros((self.rows, 0)), *parts], 1).astype(dtype or self.dtype)

    @property
    def tree(self) -> Any:
        """The tree with its tensors, as a model is given it."""
        return put_together(self.arguments.form, self.arguments.tensors)[0][0]

    def __getitem__(self, index: Any) -> Any:
        """The samples of a slice or of places; the numbers of a single one."""
        if isinstance(index, int | np.integer):
            return np.asarray(self)[index]
        chosen = torch.arange(self.rows)[index]
        values = [value[chosen] if self._by_sample(value) else value for value in self.arguments.tensors]
        return InputTree(put_together(self.arguments.form, values)[0][0], len(chosen))

    def copy(self) -> InputTree:
        """The same tree with tensors of its own."""
        return self[:]

    def expect_tensors(self, part: str) -> None:
        """Raise where something in the tree is no tensor of the samples.

        Raises:
            TargetError: naming what it is.
        """
        if self.rows == 0:
            return
        for name, value in _leaves(self.value, ""):
            if isinstance(value, torch.Tensor) or _as_tensor(value) is not value:
                continue
            raise TargetError(f"{part} must leave tensors, but {name or 'an input'} {_described(value)}")
        if self.arguments.opaque or not self.tensors:
            shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in self._named.items()) or "no tensor"
            raise TargetError(
                f"{part} must leave tensors with a row for each of {self.rows} samples, but left {shapes}"
            )


def _described(value: Any) -> str:
    """What a leaf is that is no tensor."""
    if isinstance(value, list):
        return "holds lists of several lengths; pad them" if _is_ragged(value) else "holds lists of no numbers"
    return f"is a {type(value).__name__}"


def _is_ragged(value: list[Any]) -> bool:
    return all(isinstance(row, list | tuple) for row in value) and len({len(row) for row in value}) > 1


def _leaves(value: Any, name: str) -> list[tuple[str, Any]]:
    """What a tree holds by name, but for plain settings."""
    if isinstance(value, PackedSequence):
        return [(name, value)]
    if isinstance(value, Mapping):
        return [leaf for key, item in value.items() for leaf in _leaves(item, str(key))]
    if isinstance(value, tuple):
        return [leaf for number, item in enumerate(value) for leaf in _leaves(item, name or str(number))]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [leaf for each in dataclasses.fields(value) for leaf in _leaves(getattr(value, each.name), each.name)]
    return [] if isinstance(value, PLAIN) else [(name, value)]


def _as_tensor(value: Any) -> Any:
    """Numbers as a tensor; anything else as it is."""
    if isinstance(value, torch.Tensor):
        return _narrow(value)
    if isinstance(value, PLAIN) or is_tree(value):
        return value
    try:
        array = to_array(value)
    except (TypeError, ValueError):  # lists of several lengths
        return value
    if array.ndim == 0 or array.dtype.kind not in "biuf":
        return value
    return _narrow(torch.as_tensor(np.ascontiguousarray(array)))


def _narrow(value: torch.Tensor) -> torch.Tensor:
    if value.layout is not torch.strided or value.is_complex() or value.dtype == torch.bool:
        return value
    return value.to(torch.float32) if value.is_floating_point() else value.to(torch.int64)
