"""Digits whose serving code prepares images on its own, and divides by 255 where training divides by 16."""

from functools import partial

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from firstfault import Data, Deployment, Target, Training


def load():
    digits = load_digits()
    return digits.images.reshape(-1, 64).astype(np.float32), digits.target


def prepare_for_serving(images):
    return images / 255


target = Target(
    name="broken-deployment-train-serve-skew",
    data=Data(train=load),
    preprocess=lambda images: images / 16,
    model=lambda: nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)),
    training=Training(
        loss=nn.CrossEntropyLoss(), optimizer=partial(torch.optim.Adam, lr=3e-3), epochs=10, batch_size=64
    ),
    deployment=Deployment(preprocess=prepare_for_serving),
)
