"""Gradients that are exactly 0, and such that are not."""

import numpy as np
import pytest
import torch
from torch import nn

from firstfault.finding import Status


class Between(nn.Module):
    """Two layers with a function between them."""

    def __init__(self, act):
        super().__init__()
        self.first, self.head, self.act = nn.Linear(8, 16), nn.Linear(16, 2), act

    def forward(self, x):
        return self.head(self.act(self.first(x)))


@pytest.mark.parametrize(("act", "status"), [(torch.round, Status.FAIL), (torch.tanh, Status.PASS)])
def test_a_step_lets_no_gradient_through(make, only, act, status):
    """What is rounded has gradient 0 whatever the weights; a smooth function has not."""
    rows = np.random.default_rng(2).normal(size=(80, 8)).astype(np.float32), np.arange(80) % 2
    assert only("zero_gradient", make(rows, model=lambda: Between(act))).status is status
