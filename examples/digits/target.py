"""Handwritten digits (scikit-learn) and a small CNN: a healthy image classifier."""

from functools import partial

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from firstfault import Data, Deployment, Target, Training


def load():
    """1,797 images (N, 1, 8, 8) with pixels 0–16, and their digits."""
    digits = load_digits()
    return digits.images[:, None].astype(np.float32), digits.target


def scale(images):
    """Pixels to 0–1."""
    return images / 16


def build_model():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(128, 10),
    )


target = Target(
    name="digits",
    data=Data(train=load),
    preprocess=scale,
    model=build_model,
    training=Training(
        loss=nn.CrossEntropyLoss(), optimizer=partial(torch.optim.Adam, lr=3e-3), epochs=12, batch_size=64
    ),
    deployment=Deployment(latency_ms=100),
)
