"""Adult with its numbers passed through as they are: capital_gain reaches 99,999 beside one-hot columns of 0 and 1."""

from functools import partial
from pathlib import Path

import pandas as pd
import torch
from sklearn.compose import make_column_transformer
from sklearn.preprocessing import OneHotEncoder
from torch import nn

from firstfault import Data, Target, Training

ADULT = Path(__file__).parents[2] / "adult" / "adult.parquet"
NUMBERS = ["age", "education_num", "capital_gain", "capital_loss", "hours_per_week"]
CATEGORIES = ["workclass", "education", "marital_status", "occupation", "relationship", "race", "sex"]


def load():
    return pd.read_parquet(ADULT).sample(12_000, random_state=0).reset_index(drop=True)


target = Target(
    name="broken-preprocessing-missing-normalisation",
    data=Data(train=load, label="salary", sensitive=["sex", "race"]),
    preprocess=make_column_transformer(
        ("passthrough", NUMBERS), (OneHotEncoder(handle_unknown="ignore", sparse_output=False), CATEGORIES)
    ),
    model=lambda: nn.Sequential(nn.LazyLinear(32), nn.ReLU(), nn.Linear(32, 2)),
    training=Training(
        loss=nn.CrossEntropyLoss(), optimizer=partial(torch.optim.SGD, lr=0.05), epochs=5, batch_size=128
    ),
)
