"""Training sets that are too small, and small ones that are enough."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits, make_classification

from firstfault.finding import Status


def generated(n, classes=5, columns=15, sep=1.0, seed=0):
    """Overlapping classes in columns of which half say something."""
    X, y = make_classification(
        n,
        columns,
        n_informative=columns // 2 + 1,
        n_classes=classes,
        n_clusters_per_class=1,
        class_sep=sep,
        random_state=seed,
    )
    return X, y


def few_of(X, y, each):
    """A few rows of every class."""
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.permutation(np.flatnonzero(y == label))[:each] for label in np.unique(y)])
    return X[rows], y[rows]


@pytest.mark.parametrize(
    "source",
    [lambda: few_of(*load_digits(return_X_y=True), 5), lambda: few_of(*generated(1000, classes=6, columns=24), 14)],
    ids=["digits", "generated"],
)
def test_a_handful_of_rows_is_too_few(make, only, source):
    """Every added row still helps, and the model knows its own rows by heart."""
    finding = only("insufficient_data", make(source()))
    assert finding.status is Status.FAIL and finding.value > 0.05


@pytest.mark.parametrize("source", ["digits", "iris", "wine", "breast_cancer", "diabetes", "table", "images"])
def test_data_that_suffice_pass(make, only, source):
    """Small sets too, where the curve is flat or the skill high."""
    assert only("insufficient_data", make(source)).status is Status.PASS


@pytest.mark.parametrize(
    ("n", "classes", "sep", "seed"), [(300, 2, 1.5, 0), (300, 3, 1.5, 1), (300, 4, 2.0, 2), (1500, 3, 1.0, 3)]
)
def test_generated_tables_do_not_fail(make, only, n, classes, sep, seed):
    """A few hundred rows of fifteen columns."""
    assert only("insufficient_data", make(generated(n, classes, sep=sep, seed=seed))).status is not Status.FAIL


def test_wrong_and_random_labels_are_no_lack_of_rows(make, only):
    """More rows would not help: the curve is flat."""
    X, y = generated(900, 3, sep=2.0)
    rng = np.random.default_rng(0)
    assert only("insufficient_data", make((X, rng.permutation(y)))).status is Status.PASS
    assert (
        only("insufficient_data", make((X, np.where(rng.random(900) < 0.3, rng.integers(0, 3, 900), y)))).status
        is Status.PASS
    )
    assert only("insufficient_data", make((X[:150], rng.permutation(y)[:150]))).status is Status.PASS


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"a": [1.0], "y": [0]}),
        pd.DataFrame({"a": [np.nan] * 60, "b": ["x", None] * 30, "y": [0, 1] * 30}),
        pd.DataFrame({"a": range(60), "y": ["p"] * 60}),
        pd.DataFrame({"a": range(60), "y": range(60)}),
    ],
    ids=["one row", "nothing known", "one class", "a class each"],
)
def test_odd_tables_are_judged_or_skipped(make, only, frame):
    """Nothing makes the check crash."""
    assert only("insufficient_data", make(frame, label="y")).status in (Status.PASS, Status.SKIPPED)


@pytest.mark.parametrize("source", ["tokens", "multilabel"])
def test_other_data_are_skipped(make, only, source):
    """Ids of tokens and several labels say nothing to a fast model."""
    assert only("insufficient_data", make(source)).status is Status.SKIPPED
