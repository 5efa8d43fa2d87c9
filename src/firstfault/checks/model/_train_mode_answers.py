"""The offline model's answers in train mode: of its batch statistics, or as scattered as dropout makes them."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from firstfault.metrics import Array
from firstfault.subject.offline import Offline

PASSES = 8
"""In train mode: the spread of a score over eight errs by a quarter."""


def in_train_mode(truth: Offline, x: Array, batches: Sequence[Sequence[int]]) -> Array | None:
    """The scores `(8, N, K)` of the model in train mode, each request as the batch that it was.

    None where the model has no modes, or can't be asked so.
    """
    model = copy.deepcopy(truth.model).train()
    if not has_modes(model):
        return None
    parts = batches if _has_batch_norm(model) else [list(range(len(x)))]
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            return np.stack([_once(truth, model, x, parts) for _ in range(PASSES)])
        except Exception:  # statistics of a batch of one sample
            return None


def _once(truth: Offline, model: nn.Module, x: Array, parts: Sequence[Sequence[int]]) -> Array:
    from firstfault.training.recipe import outputs_of

    found: dict[int, Array] = {}
    for rows in parts:
        inputs = torch.as_tensor(x[rows]).to(truth.recipe.train.x.dtype)
        outputs = outputs_of(model(truth.recipe.inputs_for(model, inputs))).float().cpu().numpy()
        found |= dict(zip(rows, truth.scores(outputs), strict=True))
    return np.stack([found[row] for row in range(len(x))])


def has_modes(model: nn.Module) -> bool:
    """Whether the model answers otherwise in train mode, by its dropout or its batch statistics."""
    return any("Dropout" in type(module).__name__ for module in model.modules()) or _has_batch_norm(model)


def _has_batch_norm(model: nn.Module) -> bool:
    return any("BatchNorm" in type(module).__name__ for module in model.modules())
