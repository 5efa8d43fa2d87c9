"""The offline model's answers in fewer bits: half precision, weights of few bits, answers of few decimals."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from enum import StrEnum

import numpy as np
import torch
from torch import nn

from firstfault.metrics import Array
from firstfault.subject.offline import Offline


def rounded(truth: Offline, x: Array) -> Iterator[tuple[str, Array]]:
    """The outputs of the offline model in fewer bits, and rounded, with what that is called."""
    for name, kind in (("float16", torch.float16), ("bfloat16", torch.bfloat16)):
        model = copy.deepcopy(truth.model)
        with torch.no_grad():
            for weight in (*model.parameters(), *model.buffers()):
                if weight.is_floating_point():
                    weight.copy_(weight.to(kind).to(weight.dtype))
        yield name, truth.outputs(x, model)
    for bits in (8, 6, 5, 4, 3, 2):
        for way in Rounding:
            yield f"int{bits} weights", truth.outputs(x, _quantised(truth.model, bits, way))
    outputs = truth.outputs(x)
    for digits in (0, 1):
        yield f"answers of {digits} decimals", np.round(outputs, digits)


class Rounding(StrEnum):
    """What shares a scale where weights are rounded: a tensor, a row of one, or a tensor and the biases likewise."""

    TENSOR = "tensor"
    ROW = "row"
    EVERYTHING = "everything"


def _quantised(model: nn.Module, bits: int, way: Rounding) -> nn.Module:
    """A copy whose weights have that many bits."""
    made, most = copy.deepcopy(model), 2 ** (bits - 1) - 1
    with torch.no_grad():
        for weight in made.parameters():
            if weight.is_floating_point() and (weight.ndim > 1 or way is Rounding.EVERYTHING):
                by_row = way is Rounding.ROW
                high = weight.abs().flatten(1).amax(1) if by_row else weight.abs().max().expand(len(weight))
                scale = (high / most).clamp_min(1e-12).reshape(-1, *[1] * (weight.ndim - 1))
                weight.copy_((weight / scale).round().clamp(-most, most) * scale)
    return made
