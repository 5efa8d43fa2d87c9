"""Adult with the rare class oversampled before the split: copies of training rows are in the test set."""

from functools import partial
from pathlib import Path

import pandas as pd
import torch
from sklearn.compose import make_column_transformer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from torch import nn

from firstfault import Data, Target, Training

ADULT = Path(__file__).parents[2] / "adult" / "adult.parquet"
NUMBERS = ["age", "education_num", "capital_gain", "capital_loss", "hours_per_week"]
CATEGORIES = ["workclass", "education", "marital_status", "occupation", "relationship", "race", "sex"]

people = pd.read_parquet(ADULT).drop_duplicates().sample(12_000, random_state=0)
rich = people[people["salary"] == ">50K"]
balanced = pd.concat([people, rich, rich])
train, rest = train_test_split(balanced, test_size=0.3, random_state=0)
validation, test = train_test_split(rest, test_size=0.5, random_state=0)

target = Target(
    name="broken-data-split-overlap",
    data=Data(train=train, validation=validation, test=test, label="salary"),
    preprocess=make_column_transformer(
        (StandardScaler(), NUMBERS), (OneHotEncoder(handle_unknown="ignore", sparse_output=False), CATEGORIES)
    ),
    model=lambda: nn.Sequential(nn.LazyLinear(32), nn.ReLU(), nn.Linear(32, 2)),
    training=Training(
        loss=nn.CrossEntropyLoss(), optimizer=partial(torch.optim.Adam, lr=1e-3), epochs=4, batch_size=128
    ),
)
