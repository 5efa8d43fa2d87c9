"""The loss functions of torch, by what they are given."""

from __future__ import annotations

import torch

OF_CLASSES = ("cross_entropy", "nll_loss")
OF_NUMBERS = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
OF_SHARES = ("binary_cross_entropy", "binary_cross_entropy_with_logits")
ELEMENTWISE = OF_NUMBERS + OF_SHARES
"""Those that compare outputs and targets one by one."""
LOSSES = OF_CLASSES + ELEMENTWISE
OF_LOG_SHARES = ("ctc_loss", "kl_div")
"""Those that compare log-probabilities with a text, or with probabilities."""
IGNORED = -100
"""The label that those of classes leave out unless they are told another."""


def is_one_hot(target: torch.Tensor, outputs: torch.Tensor) -> bool:
    """Whether targets of the shape of outputs are labels: 0 and 1, one 1 for each sample where there are several."""
    if target.shape != outputs.shape or target.ndim not in (1, 2) or not bool(((target == 0) | (target == 1)).all()):
        return False
    return target.ndim == 1 or target.shape[1] == 1 or bool((target.sum(1) == 1).all())
