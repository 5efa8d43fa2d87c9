"""Adult with one output unit for the probability, and softmax where sigmoid was meant."""

from functools import partial
from pathlib import Path

import pandas as pd
import torch
from sklearn.compose import make_column_transformer
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from torch import nn

from firstfault import Data, Target, Training

ADULT = Path(__file__).parents[2] / "adult" / "adult.parquet"
NUMBERS = ["age", "education_num", "capital_gain", "capital_loss", "hours_per_week"]
CATEGORIES = ["workclass", "education", "marital_status", "occupation", "relationship", "race", "sex"]


def load():
    return pd.read_parquet(ADULT).sample(12_000, random_state=0).reset_index(drop=True)


target = Target(
    name="broken-model-single-unit-softmax",
    data=Data(train=load, label="salary"),
    preprocess=make_column_transformer(
        (StandardScaler(), NUMBERS), (OneHotEncoder(handle_unknown="ignore", sparse_output=False), CATEGORIES)
    ),
    model=lambda: nn.Sequential(nn.LazyLinear(32), nn.ReLU(), nn.Linear(32, 1), nn.Softmax(dim=-1)),
    training=Training(loss=nn.BCELoss(), optimizer=partial(torch.optim.Adam, lr=1e-3), epochs=4, batch_size=128),
)
