"""Columns of pandas' numbers that may be missing are packaged and served like others."""

import numpy as np
import pandas as pd
import pytest
from torch import nn

from firstfault import Training
from firstfault.finding import Status


def visits(n=200, seed=0):
    """Whole numbers and flags of which some are missing, in pandas' own types, and a class that they tell."""
    rng = np.random.default_rng(seed)
    late, member = pd.array(rng.poisson(3, n), dtype="Int64"), pd.array(rng.random(n) < 0.5, dtype="boolean")
    y = (np.asarray(late, dtype=int) > 2).astype(int)
    late[::9], member[::7] = pd.NA, pd.NA
    return pd.DataFrame({"late": late, "member": member, "y": y})


def filled(frame):
    """Both columns as floats, which holds for pandas' own types only."""
    assert str(frame["late"].dtype) == "Int64"
    return np.column_stack([frame["late"].fillna(0).to_numpy(float) / 5, frame["member"].fillna(False).to_numpy(float)])


@pytest.mark.parametrize("name", ["served_answers", "batch_dependence"])
def test_missing_whole_numbers_are_served(make, only, name):
    """The package takes them as a client sends them, as floats, and gives them to the preprocessing as they were."""
    subject = make(visits(), label="y", preprocess=filled, model=lambda: nn.Linear(2, 2), training=Training(epochs=2))
    assert only(name, subject).status is Status.PASS
