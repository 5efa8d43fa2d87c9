"""Digits with a softmax at the end of the network, and a loss that applies softmax again."""

from functools import partial

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from firstfault import Data, Target, Training


def load():
    digits = load_digits()
    return digits.images.reshape(-1, 64).astype(np.float32), digits.target


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, x):
        return torch.softmax(self.body(x), dim=-1)


target = Target(
    name="broken-model-redundant-softmax",
    data=Data(train=load),
    preprocess=lambda images: images / 16,
    model=Classifier,
    training=Training(loss=nn.CrossEntropyLoss(), optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.5), epochs=10),
)
