"""A network that sees more than fast models speaks for labels that these take for wrong."""

from functools import partial

import numpy as np
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


def test_a_network_that_cannot_be_trained_speaks_for_nothing(make):
    """What it may get wrong is all."""

    def broken():
        raise RuntimeError("no such file")

    assert most_wrong(make(strokes(n=200), model=broken, training=Training(loss=nn.CrossEntropyLoss()))) == 1.0
