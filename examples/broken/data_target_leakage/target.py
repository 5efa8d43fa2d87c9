"""Adult with a column that is only known once the label is: the tax that was paid on the salary."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.compose import make_column_transformer
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from torch import nn

from firstfault import Data, Target, Training

ADULT = Path(__file__).parents[2] / "adult" / "adult.parquet"
NUMBERS = ["age", "education_num", "capital_gain", "capital_loss", "hours_per_week", "tax_paid"]
CATEGORIES = ["workclass", "education", "marital_status", "occupation", "relationship", "race", "sex"]


def load():
    people = pd.read_parquet(ADULT).sample(12_000, random_state=0).reset_index(drop=True)
    rng = np.random.default_rng(0)
    salary = np.where(people["salary"] == ">50K", rng.uniform(50, 150, len(people)), rng.uniform(10, 50, len(people)))
    return people.assign(tax_paid=0.2 * salary)


target = Target(
    name="broken-data-target-leakage",
    data=Data(train=load, label="salary"),
    preprocess=make_column_transformer(
        (StandardScaler(), NUMBERS), (OneHotEncoder(handle_unknown="ignore", sparse_output=False), CATEGORIES)
    ),
    model=lambda: nn.Sequential(nn.LazyLinear(32), nn.ReLU(), nn.Linear(32, 2)),
    training=Training(
        loss=nn.CrossEntropyLoss(), optimizer=partial(torch.optim.Adam, lr=1e-3), epochs=4, batch_size=128
    ),
)
