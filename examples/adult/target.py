"""UCI Adult (census income) and an MLP: a healthy table classifier with sensitive columns."""

from functools import partial

import torch
from sklearn.compose import make_column_transformer
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from torch import nn

from firstfault import Data, Deployment, Target, Training

NUMBERS = ["age", "education_num", "capital_gain", "capital_loss", "hours_per_week"]
CATEGORIES = ["workclass", "education", "marital_status", "occupation", "relationship", "race", "sex", "native_country"]


def build_model():
    return nn.Sequential(nn.LazyLinear(64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 2))


target = Target(
    name="adult",
    data=Data(train="adult.parquet", label="salary", expectations="adult.json", sensitive=["sex", "race"]),
    preprocess=make_column_transformer(
        (StandardScaler(), NUMBERS), (OneHotEncoder(handle_unknown="ignore", sparse_output=False), CATEGORIES)
    ),
    model=build_model,
    training=Training(
        loss=nn.CrossEntropyLoss(), optimizer=partial(torch.optim.Adam, lr=1e-3), epochs=4, batch_size=256
    ),
    deployment=Deployment(latency_ms=100),
)
