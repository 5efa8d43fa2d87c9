"""A small table target: two scaled numbers that decide, one that nobody needs, and a category."""

import numpy as np
import pandas as pd
import torch
from torch import nn

from firstfault import Data, Target, Training

CITIES = ("north", "south", "east")


def rows(n, seed, shift=0.0):
    """Rows and their labels: `plan` is 0 or 1 by amount, age and city; `noise` says nothing."""
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "amount": draw.gamma(4.0, 25.0, n) + shift,
            "age": draw.normal(45.0, 12.0, n),
            "noise": draw.normal(0.0, 5.0, n),
            "city": draw.choice(CITIES, n, p=(0.5, 0.3, 0.2)),
        }
    )
    odds = (frame.amount - 100) / 25 + (frame.age - 45) / 10 + np.where(frame.city == "north", 0.8, -0.8)
    label = (odds + draw.logistic(0, 0.3, n) > 0).astype(int)
    return frame, label.to_numpy()


class Scaled:
    """Numbers scaled by the training's mean and deviation."""

    def fit(self, X):
        numbers = X[["amount", "age"]]
        self.mean, self.deviation = numbers.mean().to_numpy(), numbers.std().to_numpy()
        return self

    def transform(self, X):
        numbers = (X[["amount", "age"]].to_numpy(float) - self.mean) / self.deviation
        cities = np.stack([(X["city"] == city).to_numpy(float) for city in CITIES], axis=1)
        return np.hstack([numbers, cities])


def network():
    return nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 2))


def data():
    return rows(1500, 0)


target = Target(
    "plans",
    task="classification",
    data=Data(train=data),
    preprocess=[("scaled", Scaled())],
    model=network,
    training=Training(
        loss=nn.CrossEntropyLoss(),
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.02),
        epochs=6,
        batch_size=64,
        device="cpu",
    ),
)
