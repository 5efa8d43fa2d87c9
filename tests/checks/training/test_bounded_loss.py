"""A loss written by hand that is bounded where probabilities are wrong."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from firstfault import Training
from firstfault.finding import Status


def clusters(n=600, classes=6):
    """Clusters `(N, 6)` that lie apart, and which one a row is of."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, classes, n)
    return (4 * np.eye(classes)[y] + rng.normal(0, 0.5, (n, classes))).astype(np.float32), y


def squared(outputs, y):
    """Squared errors of shares against one-hot labels."""
    return ((outputs - nn.functional.one_hot(y, outputs.shape[1])) ** 2).mean()


def cross_entropy(outputs, y):
    """Cross-entropy of shares."""
    return -outputs[torch.arange(len(y)), y].clamp(min=1e-9).log().mean()


@pytest.mark.parametrize(
    ("loss", "rate", "status"),
    [(squared, 0.002, Status.FAIL), (squared, 1.0, Status.PASS), (cross_entropy, 1e-5, Status.PASS)],
    ids=["squared errors that learn nothing", "squared errors that learn", "cross-entropy that learns nothing"],
)
def test_squared_errors_of_shares_fail_where_nothing_is_learnt(make, only, loss, rate, status):
    """They have next to no slope where probabilities are wrong; a training that copes with that has no fault."""
    training = Training(loss=loss, optimizer=partial(torch.optim.SGD, lr=rate), epochs=4, batch_size=16)
    model = lambda: nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 6), nn.Softmax(1))  # noqa: E731
    found = only("wrong_loss", make(clusters(), model=model, training=training))
    assert found.status is status
    assert found.faults.get("wrong_loss", 0) == (0.92 if status is Status.FAIL else 0)
