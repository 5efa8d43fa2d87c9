"""How much will be asked for in the next hour: a regression on a table, with a lot number that the model ignores."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from sklearn.compose import make_column_transformer
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from torch import nn

from firstfault import Data, Deployment, Target, Training

NUMBERS = ["hour", "temperature", "price", "demand_before", "stock"]
CATEGORIES = ["shop", "weekday"]


def build() -> nn.Module:
    """An MLP with one output."""
    return nn.Sequential(nn.LazyLinear(64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))


def load(path: Path) -> Any:
    """The model with the weights that are served."""
    model = build()
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval()


target = Target(
    name="demand",
    task="regression",
    data=Data(train="train.parquet", validation="validation.parquet", test="test.parquet", label="demand"),
    preprocess=make_column_transformer(
        (StandardScaler(), NUMBERS), (OneHotEncoder(handle_unknown="ignore", sparse_output=False), CATEGORIES)
    ),
    model=build,
    training=Training(loss=nn.MSELoss(), optimizer=partial(torch.optim.Adam, lr=3e-3), epochs=12, batch_size=64),
    deployment=Deployment(model="served.pt", load=load),
)
