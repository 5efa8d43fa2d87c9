"""Digits whose images are shuffled before the split, but not their labels."""

from functools import partial

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from firstfault import Data, Splits, Target, Training


def load():
    digits = load_digits()
    return digits.images[:, None].astype(np.float32), digits.target


def prepare(splits):
    rng = np.random.default_rng(0)
    images = splits.train.X[rng.permutation(len(splits.train.X))]
    return Splits(
        train=(images / 16, splits.train.y),
        validation=(splits.validation.X / 16, splits.validation.y),
        test=(splits.test.X / 16, splits.test.y),
    )


target = Target(
    name="broken-preprocessing-misaligned-labels",
    data=Data(train=load),
    prepare=prepare,
    model=lambda: nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 10)
    ),
    training=Training(
        loss=nn.CrossEntropyLoss(), optimizer=partial(torch.optim.Adam, lr=3e-3), epochs=10, batch_size=64
    ),
)
