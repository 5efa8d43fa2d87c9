"""Digits trained with the learning rate of another optimizer: Adam at 1.0."""

from functools import partial

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from firstfault import Data, Target, Training


def load():
    digits = load_digits()
    return digits.images[:, None].astype(np.float32), digits.target


target = Target(
    name="broken-training-learning-rate-too-high",
    data=Data(train=load),
    preprocess=lambda images: images / 16,
    model=lambda: nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 10),
    ),
    training=Training(loss=nn.CrossEntropyLoss(), optimizer=partial(torch.optim.Adam, lr=1.0), epochs=8, batch_size=64),
)
