"""Statistics of the data at every stage."""

import json

import numpy as np
import pandas as pd
import pytest

from firstfault import Data, Target
from firstfault.data.splits import Split, load_raw
from firstfault.training.preprocessing import prepare
from firstfault.training.stages import missing_cells, numbers, stage_metrics, stage_table, statistics


def test_the_table_has_a_row_per_stage_and_split():
    """Two stages of three splits give six rows, all plain JSON."""
    target = Target(
        name="t", data=Data(train=(np.arange(60.0).reshape(20, 3), np.arange(20) % 2)), preprocess=lambda X: X / 10
    )
    rows = stage_table(prepare(target, load_raw(target)))
    assert len(rows) == 6
    assert json.loads(json.dumps(rows)) == rows


def test_numbers_agree_with_numpy():
    """Mean, variance and range are those of all values together."""
    X = np.random.default_rng(0).normal(3, 2, (50, 4))
    row = statistics(Split(X, np.zeros(50)))
    assert row["mean"] == pytest.approx(np.mean(X))
    assert row["variance"] == pytest.approx(np.var(X))
    assert (row["min"], row["max"]) == (X.min(), X.max())
    assert (row["rows"], row["shape"], row["dtype"]) == (50, "50×4", "float64")


def test_missing_cells_are_counted_and_left_out():
    """NaN counts as missing, and not in the mean."""
    row = statistics(Split(np.array([[1.0, np.nan], [3.0, np.inf]]), np.zeros(2)))
    assert row["missing"] == 1
    assert row["mean"] == 2.0


def test_the_shares_of_classes_add_up():
    """Class shares are per label, text or number."""
    row = statistics(Split(np.zeros((4, 1)), np.array(["a", "b", "b", "b"], dtype=object)))
    assert row["classes"] == {"b": 0.75, "a": 0.25}


def test_targets_of_a_regression_have_no_classes():
    """More than 20 values are no classes."""
    assert statistics(Split(np.zeros((40, 1)), np.linspace(0, 1, 40)))["classes"] is None


@pytest.mark.parametrize(
    ("X", "shape"),
    [
        (pd.DataFrame({"a": [1, 2], "b": ["x", None]}), (2, 1)),
        (np.array([["x", "y"]]), (1, 0)),
        (np.array([[1, "y"]], dtype=object), (1, 1)),
        (np.arange(3), (3, 1)),
        (np.zeros((2, 1, 4, 4), np.uint8), (2, 1, 4, 4)),
        (pd.DataFrame({"a": ["x"]}), (1, 0)),
    ],
    ids=["frame", "text", "objects", "flat", "images", "text frame"],
)
def test_numbers_of_any_inputs(X, shape):
    """Text is left out; every other shape stays, with one column at least for a flat array."""
    assert numbers(X).shape == shape


def test_missing_cells_of_text_count():
    """None in a text column is missing."""
    assert missing_cells(pd.DataFrame({"a": ["x", None]})) == 1


def test_an_empty_split_has_no_numbers():
    """No rows: no mean."""
    assert statistics(Split(np.zeros((0, 3)), np.zeros(0)))["mean"] is None


def test_the_table_becomes_metrics_by_stage_split_and_statistic():
    """Every number has a name of its own; what a split of text has none of is left out."""
    frame = pd.DataFrame({"word": ["a", "b"] * 10, "y": [0, 1] * 10})
    target = Target(
        name="t", data=Data(train=frame, label="y"), preprocess=[("length", lambda X: X[["word"]].map(len))]
    )
    metrics = stage_metrics(stage_table(prepare(target, load_raw(target))))
    assert metrics["stages/length/train/mean"] == 1.0
    assert metrics["stages/raw/train/rows"] == metrics["stages/length/train/rows"] > metrics["stages/length/test/rows"]
    assert "stages/raw/train/mean" not in metrics and metrics["stages/raw/train/missing"] == 0
