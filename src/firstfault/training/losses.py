"""The loss functions of torch, by what they are given."""

from __future__ import annotations

import torch

from firstfault.metrics import IGNORED as IGNORED
from firstfault.metrics import NEAR_ONE

OF_CLASSES = ("cross_entropy", "nll_loss")
OF_NUMBERS = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
OF_SHARES = ("binary_cross_entropy", "binary_cross_entropy_with_logits")
ELEMENTWISE = OF_NUMBERS + OF_SHARES
"""Those that compare outputs and targets one by one."""
LOSSES = OF_CLASSES + ELEMENTWISE
OF_LOG_SHARES = ("ctc_loss", "kl_div")
"""Those that compare log-probabilities with a text, or with probabilities."""
OF_TRIPLETS = ("triplet_margin_loss",)
"""Those that compare distances, from an answer to that to a like input and to that to another."""
WATCHED = LOSSES + OF_LOG_SHARES + OF_TRIPLETS
"""Those that a watch listens to."""


def are_distributions(rows: torch.Tensor, dtype: torch.dtype | None = None) -> bool:
    """Whether every row `(…, K)` of several numbers is of shares that are 1 in all, up to the rounding of `dtype`.

    Args:
        rows: floats.
        dtype: what they were computed in; None for that of `rows`.
    """
    if rows.ndim < 2 or rows.shape[-1] < 2 or not rows.is_floating_point():
        return False
    off = max(NEAR_ONE, torch.finfo(dtype or rows.dtype).eps / 2)
    return bool((rows >= 0).all()) and bool(((rows.float().sum(-1) - 1).abs() <= off).all())


def are_one_hot(y: torch.Tensor) -> bool:
    """Whether rows `(N, K)` of several numbers are labels: 0 and 1, one 1 in each."""
    if y.ndim != 2 or y.shape[1] < 2:
        return False
    return bool(((y == 0) | (y == 1)).all()) and bool((y.sum(1) == 1).all())


def is_one_hot(target: torch.Tensor, outputs: torch.Tensor) -> bool:
    """Whether targets of the shape of outputs are labels: 0 and 1, one 1 for each sample where there are several."""
    if target.shape != outputs.shape or target.ndim not in (1, 2):
        return False
    if target.ndim == 2 and target.shape[1] > 1:
        return are_one_hot(target)
    return bool(((target == 0) | (target == 1)).all())
