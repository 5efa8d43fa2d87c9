"""Rows whose order tells something are found where the source has them so; shuffled rows are left alone."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine

from firstfault.finding import Status


def shuffled(frame, seed=0):
    """The frame in random order."""
    return frame.sample(frac=1, random_state=seed).reset_index(drop=True)


def frame_of(load):
    """A scikit-learn set as a frame with its label."""
    return load(as_frame=True).frame


@pytest.mark.parametrize("load", [load_wine, load_breast_cancer, load_diabetes], ids=["wine", "cancer", "diabetes"])
@pytest.mark.parametrize("by", ["target", "column"])
def test_sorted_rows_are_found_and_shuffled_ones_are_not(make, only, load, by):
    """Rows sorted by their label, or by blocks of a column."""
    frame = shuffled(frame_of(load))
    task = "regression" if load is load_diabetes else "classification"
    found = only(
        "rows_in_order",
        make(frame.sort_values("target" if by == "target" else frame.columns[2]), label="target", task=task),
    )
    assert found.status is Status.WARN
    assert found.faults == {}
    assert only("rows_in_order", make(frame, label="target", task=task)).status is Status.PASS


def test_drifting_inputs_are_found_whatever_their_labels(make, only):
    """Inputs that wander from row to row, under labels in random order."""
    rng = np.random.default_rng(0)
    X, y = np.cumsum(rng.normal(size=(800, 5)), axis=0), rng.integers(0, 2, 800)
    assert only("rows_in_order", make((X, y))).status is Status.WARN
    order = rng.permutation(800)
    assert only("rows_in_order", make((X[order], y))).status is Status.PASS


def test_a_split_cut_from_sorted_digits_is_degenerate(make, only):
    """Test lacks classes that train has; a random test of the same sorted rows lacks none."""
    X, y = load_digits(return_X_y=True)
    order = np.argsort(y, kind="stable")
    X, y = X[order], y[order]
    cut = {"validation": (X[1::7], y[1::7]), "test": (X[1600:], y[1600:])}
    finding = only("rows_in_order", make((X[:1600], y[:1600]), data=cut))
    assert finding.status is Status.FAIL
    assert finding.faults == {"degenerate_split": 0.9}
    fair = {"validation": (X[1::7], y[1::7]), "test": (X[2::7], y[2::7])}
    assert only("rows_in_order", make((X, y), data=fair)).status is Status.WARN


def test_a_declared_time_is_no_finding(make, only):
    """Sorted by time, as declared."""
    frame = frame_of(load_wine)
    frame["day"] = np.arange(len(frame))
    assert only("rows_in_order", make(frame, label="target", data={"time": "day"})).status is Status.SKIPPED


def test_a_row_number_is_no_order_of_the_inputs(make, only):
    """A column that counts the rows says nothing of their likeness."""
    frame = shuffled(frame_of(load_breast_cancer))[["mean radius", "target"]]
    frame.insert(0, "id", np.arange(len(frame)))
    assert only("rows_in_order", make(frame, label="target")).status is Status.PASS


def test_what_has_no_known_order_is_skipped(make, only):
    """A function as source, and few rows."""
    assert only("rows_in_order", make(lambda: load_digits(return_X_y=True))).status is Status.SKIPPED
    assert only("rows_in_order", make(frame_of(load_wine).head(60), label="target")).status is Status.SKIPPED


def test_equal_rows_and_one_class_have_no_order(make, only):
    """Constant inputs, constant labels, texts."""
    y = np.random.default_rng(0).integers(0, 2, 300)
    assert only("rows_in_order", make((np.ones((300, 3)), y))).status is Status.PASS
    assert (
        only("rows_in_order", make((np.random.default_rng(1).normal(size=(300, 3)), np.zeros(300, int)))).status
        is Status.PASS
    )
    assert (
        only("rows_in_order", make(pd.DataFrame({"text": ["a b"] * 300, "target": y}), label="target")).status
        is Status.PASS
    )


def test_order_is_seen_in_large_tables(make, only):
    """Blocks of one hour's customers among 60,000 rows, and the same rows shuffled."""
    rng = np.random.default_rng(0)
    hour = np.repeat(np.arange(600), 100)
    frame = pd.DataFrame(
        {"a": np.sin(hour) + rng.normal(0, 0.3, 60_000), "b": np.cos(3 * hour) + rng.normal(0, 0.3, 60_000)}
    )
    frame["target"] = rng.integers(0, 600, 600)[hour] > 300
    assert only("rows_in_order", make(frame, label="target")).status is Status.WARN
    assert only("rows_in_order", make(shuffled(frame), label="target")).status is Status.PASS
