"""The serving path against the training path: another scaling, and other places for the columns."""

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler
from torch import nn

from firstfault import Deployment, Training
from firstfault.check import checks_of, run_check
from firstfault.finding import Layer, Status


def network():
    """A linear classifier."""
    return nn.Sequential(nn.LazyLinear(3))


def reversed_columns(X):
    """Columns in the order of another table."""
    return np.asarray(X, dtype=np.float32)[:, ::-1].copy()


@pytest.mark.parametrize(
    ("serve", "fault"),
    [
        (reversed_columns, "schema_mismatch"),
        (lambda X: np.asarray(X, dtype=np.float32) * 3 + 1, "train_serve_skew"),
        (lambda X: np.asarray(X, dtype=np.float32)[:, :5], "train_serve_skew"),
    ],
    ids=["reordered", "rescaled", "fewer columns"],
)
def test_a_skewed_serving_path_is_named(make, only, serve, fault):
    """Columns that changed places are told from values that changed."""
    subject = make(
        "wine",
        preprocess=lambda X: X,
        model=network,
        training=Training(epochs=1),
        deployment=Deployment(preprocess=serve),
    )
    finding = only("train_serve_skew", subject)
    assert finding.status is Status.FAIL and fault in finding.faults


def test_how_far_an_input_may_move_is_a_threshold(make):
    """A target that lets inputs move by many deviations is told nothing of a scale."""
    rescaled = make(
        "wine",
        preprocess=lambda X: X,
        model=network,
        training=Training(epochs=1),
        deployment=Deployment(preprocess=lambda X: np.asarray(X, dtype=np.float32) * 1.1),
    )
    [check] = [entry for entry in checks_of(Layer.DEPLOYMENT) if entry.name == "train_serve_skew"]
    assert {moved: run_check(check, rescaled, {"moved": moved})[0].status for moved in (0.01, 100.0)} == {
        0.01: Status.FAIL,
        100.0: Status.PASS,
    }


def test_the_same_path_is_no_skew(make, only):
    """Serving that computes what training computes."""
    subject = make(
        "wine",
        preprocess=lambda X: X / 10,
        model=network,
        training=Training(epochs=1),
        deployment=Deployment(preprocess=lambda X: np.divide(X, 10)),
    )
    assert only("train_serve_skew", subject).status is Status.PASS


def test_a_path_of_its_own_is_needed(make, only):
    """Without one there is nothing to compare."""
    subject = make("wine", preprocess=StandardScaler(), model=network, training=Training(epochs=1))
    assert only("train_serve_skew", subject).status is Status.SKIPPED
