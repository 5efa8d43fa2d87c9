"""Which token fills rows of different lengths up."""

from __future__ import annotations

import torch
from torch import nn

FEWEST_LENGTHS = 3  # two lengths may be two kinds of rows, and no filling up
STRAY = 0.01
"""The share of all tokens that may be the filling one within a row: a user's text may hold it too."""


def padding_token(x: torch.Tensor, model: nn.Module, share: float = 0.3) -> int | None:
    """The token that fills rows `(N, T)` up at their end, more than `share` of them; None where there is none.

    It is the one that an embedding of the model declares, else the one that ends most rows.
    """
    if x.is_floating_point() or x.dtype == torch.bool or x.ndim != 2 or x.shape[1] < 3:
        return None
    declared = [
        module.padding_idx
        for module in model.modules()
        if isinstance(module, nn.Embedding) and module.padding_idx is not None
    ]
    token = declared[0] if declared else int(x[:, -1].mode().values)
    ends = (x == token).flip(1).long().cumprod(1).sum(1)
    inner = ((x == token).sum(1) - ends).sum()
    varied = len(torch.unique(ends)) >= FEWEST_LENGTHS and float((ends > 0).float().mean()) > share
    return token if varied and int(inner) <= STRAY * x.numel() else None
