"""Class labels that were scaled, or numbered differently in each split."""

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import LabelEncoder, StandardScaler

from firstfault import Splits
from firstfault.finding import Status


def with_labels(change):
    """A preparation that changes the labels of each split by `change(y, name)`."""
    return lambda splits: Splits(*((split.X, change(split.y, name)) for name, split in splits.items()))


@pytest.mark.parametrize(
    "change",
    [
        lambda y, name: (y - y.mean()) / y.std(),
        lambda y, name: y / 255,
        lambda y, name: StandardScaler().fit_transform(y[:, None])[:, 0],
        lambda y, name: (y / 255).astype(int),
        lambda y, name: y / 9 if name == "test" else y,
    ],
    ids=["z-score", "1/255", "scaler", "cut to whole", "test only"],
)
def test_scaled_class_labels_fail(make, only, change):
    """Class ids that became fractions or collapsed fail."""
    finding = only("label_scaled", make("digits", prepare=with_labels(change)))
    assert finding.status is Status.FAIL
    assert finding.faults == {"label_scaled": 0.95}


@pytest.mark.parametrize(
    "change",
    [
        lambda y, name: y,
        lambda y, name: y.astype(float),
        lambda y, name: np.eye(10, dtype=np.float32)[y],
        lambda y, name: (y > 4).astype(int),
        lambda y, name: np.where(y > 4, 1.0, -1.0),
        lambda y, name: y + 1,
        lambda y, name: np.array([f"digit {value}" for value in y]),
    ],
    ids=["same", "float", "one-hot", "two classes", "±1", "from 1", "text"],
)
def test_relabelled_classes_pass(make, only, change):
    """Other names, one-hot rows and coarser classes are still classes."""
    assert only("label_scaled", make("digits", prepare=with_labels(change))).status is Status.PASS


def test_classes_that_are_fractions_by_themselves_pass(make, only):
    """Stars of 0.5, 1.0, 1.5 are classes from the start."""
    X = np.random.default_rng(0).normal(size=(90, 3))
    stars = np.tile([0.5, 1.0, 1.5], 30)
    assert only("label_scaled", make((X, stars), prepare=lambda splits: splits)).status is Status.PASS


def test_a_scaled_regression_target_is_fine(make, only):
    """Only class labels must stay as they are."""
    subject = make("diabetes", prepare=with_labels(lambda y, name: (y - 150) / 77))
    assert only("label_scaled", subject).status is Status.PASS


def test_scaled_multilabel_rows_fail(make, only):
    """Columns of zeros and ones that were standardised fail."""
    subject = make("multilabel", prepare=with_labels(lambda y, name: (y - y.mean(0)) / y.std(0)))
    assert only("label_scaled", subject).status is Status.FAIL


@pytest.mark.parametrize(
    "change",
    [
        lambda y, name: (y + 1) % 10 if name == "test" else y,
        lambda y, name: 9 - y if name == "validation" else y,
        lambda y, name: pd.factorize(pd.Series(y))[0],
    ],
    ids=["rotated in test", "reversed in validation", "by first appearance"],
)
def test_classes_numbered_differently_per_split_fail(make, only, change):
    """Class ids that differ between splits fail, with an example."""
    finding = only("label_encoding_order", make("digits", prepare=with_labels(change)))
    assert finding.status is Status.FAIL
    assert finding.faults == {"label_encoding_order": 0.95}


def test_one_encoding_for_all_splits_passes(make, only):
    """Names encoded by one encoder pass."""

    def prepare(splits):
        encoder = LabelEncoder().fit(splits.train.y)
        return Splits(*((split.X, encoder.transform(split.y)) for _, split in splits.items()))

    assert only("label_encoding_order", make("table", prepare=prepare)).status is Status.PASS


def test_shuffled_splits_are_matched_by_counts(make, only):
    """Rows in another order are matched by how often a class occurs, and pass."""

    def prepare(splits):
        order = np.random.default_rng(0).permutation(len(splits.train.y))
        return Splits((splits.train.X.iloc[order], splits.train.y[order]), splits.validation, splits.test)

    assert only("label_encoding_order", make("table", prepare=prepare)).status in (Status.PASS, Status.SKIPPED)
