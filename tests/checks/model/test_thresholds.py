"""Bounds that a target can set: each moves the verdict of a faulty network."""

import numpy as np
import pytest
from torch import nn
from torch.nn import functional as F

from firstfault import Training
from firstfault.finding import Status


class Cells(nn.Module):
    """A GRU whose recurrent weights are many times as wide as by default; its outputs can't grow."""

    def __init__(self):
        super().__init__()
        self.cells, self.head = nn.GRU(3, 16, batch_first=True), nn.Linear(16, 2)
        for value in self.cells.parameters():
            nn.init.normal_(value, 0, 8.0)

    def forward(self, x):
        return self.head(self.cells(x)[0][:, -1])


class Words(nn.Module):
    """Embedded token ids `(N, T)` less the mean over the batch, or log-probabilities over the positions."""

    def __init__(self, mixed):
        super().__init__()
        self.words, self.head, self.mixed = nn.Embedding(9, 8), nn.Linear(8, 4), mixed

    def forward(self, ids):
        h = self.words(ids)
        return self.head((h - h.mean(0)).mean(1)) if self.mixed else self.head(h).log_softmax(1)


class Attends(nn.Module):
    """Attention over vectors without positions."""

    def __init__(self):
        super().__init__()
        self.inner, self.attention = nn.Linear(2, 8), nn.MultiheadAttention(8, 2, batch_first=True)
        self.out = nn.Linear(8, 2)

    def forward(self, x):
        h = self.inner(x)
        return self.out((h + self.attention(h, h, h)[0]).amax(1))


class Wide(nn.Module):
    """Two layers with weights from N(0, 30), for a number."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))
        for value in self.parameters():
            nn.init.normal_(value, 0, 30.0)

    def forward(self, x):
        return self.layers(x)


def normal(*shape):
    return np.random.default_rng(2).normal(size=shape).astype(np.float32)


def ids():
    return np.random.default_rng(0).integers(0, 9, (80, 6))


def per_position(a, b):
    """A loss on the classes of every position."""
    return F.nll_loss(a.flatten(0, 1), b.flatten())


def exclusive():
    """A softmax over labels of which several can be true."""
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4), nn.Softmax(1))


CASES = {
    ("exploding_init", "flat_state"): (
        {"source": (normal(60, 9, 3), np.arange(60) % 2), "model": Cells},
        {"flat_state": 2.0, "flat_gate": 1e9},
        Status.PASS,
    ),
    ("batch_mixing", "moved"): (
        {"source": (ids(), np.arange(80) % 4), "model": lambda: Words(True)},
        {"moved": 1e9},
        Status.PASS,
    ),
    ("classes_normalised", "tolerance"): (
        {"source": (ids(), ids() % 4), "model": lambda: Words(False), "training": Training(loss=per_position)},
        {"tolerance": 1e9},
        Status.PASS,
    ),
    ("wrong_output_activation", "several"): (
        {
            "source": (normal(80, 8), (normal(80, 8)[:, :4] > 0).astype(np.float32)),
            "task": "multilabel",
            "model": exclusive,
            "training": Training(loss=F.binary_cross_entropy),
        },
        {"several": 1.0},
        Status.PASS,
    ),
    ("missing_positional_information", "deviations"): (
        {"source": (normal(300, 10, 2).cumsum(1), np.arange(300) % 2), "model": Attends},
        {"deviations": 1e9},
        Status.WARN,
    ),
}


@pytest.mark.parametrize(("check", "name"), CASES)
def test_a_bound_that_is_set_moves_the_verdict(make, only, check, name):
    """The network fails by default, and does not with the bound out of reach."""
    parts, thresholds, status = CASES[check, name]
    subject = make(**parts)
    assert name in thresholds and only(check, subject).status is Status.FAIL
    assert only(check, subject, **thresholds).status is status


def test_the_size_of_outputs_is_bounded_by_itself(make, only):
    """Where no loss is known, the bound of the loss changes nothing, and that of the size does."""
    subject = make((normal(80, 8), normal(80, 1)), task="regression", model=Wide)
    assert only("exploding_init", subject, times=1e9).status is Status.FAIL
    assert only("exploding_init", subject, size=1e9).status is Status.PASS
