"""Tables whose rows are nearly all the same."""

import numpy as np
import pandas as pd
import pytest

from firstfault.finding import Status

RNG = np.random.default_rng(0)
AMOUNTS = RNG.integers(1, 200, (300, 5))
LABELS = (AMOUNTS[:, 0] > 100).astype(int)


@pytest.mark.parametrize(
    "X",
    [
        (AMOUNTS / AMOUNTS.max(0)).astype(int),
        AMOUNTS // 255,
        pd.DataFrame(AMOUNTS, columns=list("abcde")) // AMOUNTS.max(),
    ],
    ids=["cut by columns", "floor of 255", "a frame"],
)
def test_features_cut_to_zero_fail(make, only, X):
    """Numbers divided by their maximum and cut leave rows of zeros."""
    finding = only("rows_alike", make((X, LABELS)))
    assert finding.status is Status.FAIL
    assert finding.faults == {"noisy_features": 0.92}


@pytest.mark.parametrize(
    "X",
    [
        AMOUNTS / AMOUNTS.max(0),
        (RNG.random((300, 40)) < 0.02).astype(int),
        (AMOUNTS > 190).astype(int),
        np.eye(5, dtype=int)[RNG.integers(0, 5, 300)],
    ],
    ids=["scaled", "rare words", "rare events", "one-hot"],
)
def test_sparse_rows_pass(make, only, X):
    """Rows that are mostly zero say something, where they differ."""
    assert only("rows_alike", make((X, LABELS))).status is Status.PASS


def test_two_columns_of_rare_events_are_left_alone(make, only):
    """Two flags that are hardly ever set may be all that is known."""
    assert only("rows_alike", make(((AMOUNTS[:, :2] > 198).astype(int), LABELS))).status is Status.SKIPPED
