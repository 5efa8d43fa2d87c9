"""A small healthy classifier of a table, with all that a debug run looks at: groups, a reference, safety."""

import numpy as np
import pandas as pd
import torch
from torch import nn

from firstfault import Data, Target, Training


def rows(seed):
    """A table of 900 rows, and whether an applicant is accepted."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "income": rng.normal(size=900).round(3),
            "debt": rng.normal(size=900).round(3),
            "age": rng.integers(18, 90, 900) / 90.0,
            "group": rng.integers(0, 2, 900).astype(float),
        }
    )
    accepted = frame["income"] - frame["debt"] + 0.3 * rng.normal(size=900) > 0
    return frame, accepted.to_numpy().astype(int)


target = Target(
    name="loans",
    data=Data(train=rows(0), reference=rows(1), sensitive=["group"]),
    model=lambda: nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2)),
    training=Training(
        loss=nn.CrossEntropyLoss(), optimizer=lambda parameters: torch.optim.Adam(parameters, lr=1e-2), epochs=20
    ),
)
