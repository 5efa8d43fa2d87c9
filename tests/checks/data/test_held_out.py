"""A network that sees more than fast models speaks for labels that these take for wrong."""

from functools import partial

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from firstfault import Training
from firstfault.checks.data._held_out import most_wrong
from firstfault.finding import Status


def strokes(n=500, side=14):
    """Images `(N, 1, side, side)` of crosses, squares and discs at random places, and their kinds."""
    rng = np.random.default_rng(0)
    kinds, images = rng.integers(0, 3, n), rng.normal(0, 0.15, (n, 1, side, side))
    for image, kind, (row, column) in zip(images[:, 0], kinds, rng.integers(3, side - 3, (n, 2)), strict=True):
        part = image[row - 2 : row + 3, column - 2 : column + 3]
        if kind == 0:
            part[2] += 1
            part[:, 2] += 1
        elif kind == 1:
            part[[0, 4]] += 1
            part[:, [0, 4]] += 1
        else:
            part[1:4, 1:4] += 1
    return images.astype(np.float32), kinds


def network():
    """It finds a shape wherever it is."""
    return nn.Sequential(
        nn.Conv2d(1, 12, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(12, 24, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(24, 3),
    )


def trained(epochs):
    """A training with Adam."""
    return Training(
        loss=nn.CrossEntropyLoss(), optimizer=partial(torch.optim.Adam, lr=5e-3), epochs=epochs, batch_size=32
    )


def test_the_trained_network_speaks_for_labels_that_fast_models_doubt(make, only):
    """It errs on few validation rows, which wrong labels would not allow."""
    found = only("labels_against_inputs", make(strokes(), model=network, training=trained(10)))
    assert found.status is Status.PASS and "the trained network errs on less than" in found.message


def test_a_network_does_not_speak_for_wrong_labels(make, only):
    """Of digits with a quarter of other labels, it errs on as many of validation."""
    X, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(1)
    noisy = np.where(rng.random(len(y)) < 0.25, (y + rng.integers(1, 10, len(y))) % 10, y)
    found = only("labels_against_inputs", make((X / 16, noisy), model=lambda: nn.Linear(64, 10), training=trained(4)))
    assert found.status is Status.FAIL and "label_noise" in found.faults


def pairs(wrong, n=1800):
    """Rows of a user's number and six values, and whether the user likes them: no column and no sum of them tells.

    The network multiplies an embedding of the user with them.
    """
    rng = np.random.default_rng(0)
    user, values = rng.integers(0, 8, n), rng.normal(size=(n, 6))
    likes = (rng.choice([-1.0, 1.0], (8, 6))[user] * values).sum(1) > 0
    X = np.column_stack([user, values]).astype(np.float32)
    return X, (likes ^ (rng.random(n) < wrong)).astype(int)


class Towers(nn.Module):
    """The logit of a user's embedding times the values."""

    def __init__(self):
        super().__init__()
        self.users = nn.Embedding(8, 6)

    def forward(self, x):
        """Logits `(N, 1)` of rows `(N, 7)`."""
        return 2 * (self.users(x[:, 0].long()) * x[:, 1:]).sum(1, keepdim=True)


@pytest.mark.parametrize("wrong", [0.0, 0.25])
def test_the_network_tells_wrong_labels_that_fast_models_cannot(make, only, wrong):
    """It errs on as many of the rows that it is sure of, though it has not learnt them."""
    training = Training(
        loss=lambda outputs, y: nn.functional.binary_cross_entropy_with_logits(outputs[:, 0], y.float()),
        optimizer=partial(torch.optim.Adam, lr=3e-2),
        epochs=8,
    )
    found = only("labels_against_inputs", make(pairs(wrong), model=Towers, training=training))
    assert (found.status is Status.FAIL) is (wrong > 0)


@pytest.mark.parametrize("wrong", [0.0, 0.15])
def test_wrong_labels_are_told_where_there_are_several(make, only, wrong):
    """Of each pair of a row and a label, whether it is wrong is a coin's toss; hard rows of clean labels pass."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 6))
    labels = X @ rng.normal(size=(6, 3)) + rng.normal(0, 0.4, (600, 3)) > 0.5
    found = only(
        "labels_against_inputs", make((X, (labels ^ (rng.random(labels.shape) < wrong)) * 1), task="multilabel")
    )
    assert (found.status is Status.FAIL) is (wrong > 0)


def test_grades_are_next_to_each_other_by_nature(make, only):
    """A rounded score is as often wrong by one where it is sure; labels replaced by any other grade are found."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(900, 5))
    stars = np.clip(np.round(3 + 0.8 * X[:, 0] + 0.5 * X[:, 1] + rng.normal(0, 0.6, 900)), 1, 5).astype(int)
    wrong = np.where(rng.random(900) < 0.3, (stars + rng.integers(1, 5, 900) - 1) % 5 + 1, stars)
    assert only("labels_against_inputs", make((X, stars))).status is not Status.FAIL
    assert only("labels_against_inputs", make((X, wrong))).status is Status.FAIL


def test_a_network_that_cannot_be_trained_speaks_for_nothing(make):
    """What it may get wrong is all."""

    def broken():
        raise RuntimeError("no such file")

    assert most_wrong(make(strokes(n=200), model=broken, training=Training(loss=nn.CrossEntropyLoss()))) == 1.0
