"""Meters of two sites; those of site 1 are wired the other way round."""

import numpy as np
import pandas as pd
import torch
from torch import nn

from firstfault import Data, Target, Training


def meters(rows=600):
    """A flow that tells the label by its sign, turned at site 1."""
    draw = np.random.default_rng(0)
    flow, site, heat = draw.normal(size=rows), draw.integers(0, 2, rows), draw.normal(size=rows)
    label = (flow + 0.1 * draw.normal(size=rows) > 0).astype(int)
    return pd.DataFrame({"flow": np.where(site == 1, -flow, flow), "site": site, "heat": heat, "leak": label})


target = Target(
    name="meters",
    data=Data(train=meters, label="leak"),
    preprocess=lambda X: X.to_numpy("float32"),
    model=lambda: nn.Linear(3, 2),
    training=Training(
        loss=nn.CrossEntropyLoss(), optimizer=lambda weights: torch.optim.Adam(weights, lr=0.05), epochs=5
    ),
)
