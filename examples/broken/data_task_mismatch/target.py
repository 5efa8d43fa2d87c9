"""Diabetes: the label is an amount, the progress of a disease, and the target is declared as a classification."""

from functools import partial

import torch
from sklearn.datasets import load_diabetes
from sklearn.preprocessing import StandardScaler
from torch import nn

from firstfault import Data, Target, Training


def load():
    X, y = load_diabetes(return_X_y=True)
    return X, (y - y.mean()) / y.std()


target = Target(
    name="broken-data-task-mismatch",
    data=Data(train=load),
    preprocess=StandardScaler(),
    model=lambda: nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 1)),
    training=Training(loss=nn.MSELoss(), optimizer=partial(torch.optim.Adam, lr=1e-2), epochs=20, batch_size=32),
)
