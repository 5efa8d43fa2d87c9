"""Who earns more than 50K: a table of numbers and categories. Race is in the requests, and not in the model."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from sklearn.compose import make_column_transformer
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from torch import nn

from firstfault import Data, Deployment, Target, Training

NUMBERS = ["age", "education_num", "capital_gain", "capital_loss", "hours_per_week"]
CATEGORIES = ["workclass", "education", "marital_status", "occupation", "relationship", "sex", "native_country"]


def build() -> nn.Module:
    """An MLP of two hidden layers."""
    return nn.Sequential(nn.LazyLinear(48), nn.ReLU(), nn.Dropout(0.2), nn.Linear(48, 24), nn.ReLU(), nn.Linear(24, 2))


def load(path: Path) -> Any:
    """The model with the weights that are served."""
    model = build()
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval()


target = Target(
    name="adult",
    data=Data(train="train.parquet", validation="validation.parquet", test="test.parquet", label="salary"),
    preprocess=make_column_transformer(
        (StandardScaler(), NUMBERS), (OneHotEncoder(handle_unknown="ignore", sparse_output=False), CATEGORIES)
    ),
    model=build,
    training=Training(
        loss=nn.CrossEntropyLoss(), optimizer=partial(torch.optim.Adam, lr=2e-3), epochs=6, batch_size=128
    ),
    deployment=Deployment(model="served.pt", load=load),
)
