"""An estimator that knows its training rows by heart, beside itself with less freedom."""

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.neighbors import KNeighborsClassifier

from firstfault.finding import Status

DEEP = {"max_iter": 40, "max_leaf_nodes": 63, "min_samples_leaf": 1}


def curved():
    """2,400 rows whose label hangs on the product of two columns, and on what no column tells."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2400, 6))
    score = values[:, 0] * values[:, 1] + 0.5 * values[:, 2] + rng.normal(0, 1.2, len(values))
    return values, (score > 0).astype(np.int64)


@pytest.mark.parametrize(
    ("model", "status"),
    [
        (HistGradientBoostingClassifier(max_iter=30), Status.PASS),
        (HistGradientBoostingClassifier(**DEEP, learning_rate=0.5), Status.WARN),
        (KNeighborsClassifier(1), Status.FAIL),
        (KNeighborsClassifier(9), Status.PASS),
    ],
    ids=["usual trees", "surer than they should be", "the next row's label", "neighbours"],
)
def test_what_may_fit_less_and_does_better_tells_overfitting(make, only, model, status):
    """A gap between train and validation is none by itself; where only the loss is better, it is a warning."""
    finding = only("overfitting", make(curved, model=model))
    assert finding.status is status, finding.message
