"""Will a machine fail: thirty numbers that the model looks at, of two kinds of machines, and four that it ignores."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from sklearn.compose import make_column_transformer
from sklearn.preprocessing import StandardScaler
from torch import nn

from firstfault import Data, Deployment, Target, Training

USED = [f"sensor_{number:02}" for number in range(30)]


def build() -> nn.Module:
    """An MLP with batch normalisation and dropout."""
    return nn.Sequential(nn.Linear(30, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 2))


def load(path: Path) -> Any:
    """The model with the weights that are served."""
    model = build()
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval()


target = Target(
    name="sensors",
    data=Data(train="train.parquet", validation="validation.parquet", test="test.parquet", label="fails"),
    preprocess=make_column_transformer((StandardScaler(), USED)),
    model=build,
    training=Training(
        loss=nn.CrossEntropyLoss(), optimizer=partial(torch.optim.Adam, lr=3e-3), epochs=8, batch_size=64
    ),
    deployment=Deployment(model="served.pt", load=load),
)
