"""Scales of inputs and targets, and the swaps that undo bad ones."""

import warnings
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.compose import make_column_transformer
from sklearn.linear_model import Ridge
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, RobustScaler, StandardScaler
from torch import nn

from firstfault import Training
from firstfault.finding import Status


def linear(outputs=10):
    return lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(16), nn.ReLU(), nn.Linear(16, outputs))


@pytest.mark.parametrize("source", ["wine", "breast_cancer", "images"])
def test_raw_inputs_on_wild_scales_fail(make, only, source):
    """Chemistry in hundreds beside fractions, cell areas in thousands and pixels of 0–255 fail."""
    finding = only("missing_normalisation", make(source, model=linear()))
    assert finding.status is Status.FAIL
    assert finding.faults == {"missing_normalisation": 0.75}


@pytest.mark.parametrize(
    ("source", "step"),
    [
        ("wine", StandardScaler()),
        ("breast_cancer", MinMaxScaler()),
        ("breast_cancer", RobustScaler()),
        ("iris", None),
        ("diabetes", None),
        ("digits", None),
        ("digits", lambda X: X / 16),
        ("images", lambda X: X / 255),
        ("multilabel", None),
        ("table", make_column_transformer((StandardScaler(), ["age", "income"]), (OneHotEncoder(), ["city"]))),
    ],
)
def test_sensible_scales_do_not_fail(make, only, source, step):
    """Scaled inputs, small raw ones and sparse one-hot columns pass, or warn at most."""
    finding = only("missing_normalisation", make(source, preprocess=step, model=linear()))
    assert finding.status in (Status.PASS, Status.WARN)


class Rescaling(nn.Module):
    """A net that divides pixels by 255 itself."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(192, 2)

    def forward(self, x):
        return self.layer(x.flatten(1) / 255)


@pytest.mark.parametrize(
    "model",
    [
        lambda: nn.Sequential(nn.BatchNorm1d(13), nn.Linear(13, 3)),
        lambda: nn.Sequential(nn.LayerNorm(13), nn.Linear(13, 3)),
    ],
    ids=["batch norm", "layer norm"],
)
def test_models_that_normalise_first_pass(make, only, model):
    """A model that begins with a normalisation layer needs none before it."""
    assert only("missing_normalisation", make("wine", model=model)).status is Status.PASS


def test_a_model_that_rescales_by_itself_passes(make, only):
    """What counts is what the first layer receives."""
    assert only("missing_normalisation", make("images", model=Rescaling)).status is Status.PASS


def test_token_ids_are_never_out_of_scale(make, only):
    """Token ids feed an embedding, whatever their size."""
    model = lambda: nn.Sequential(nn.Embedding(50, 4), nn.Flatten(), nn.Linear(48, 2))  # noqa: E731
    subject = make("tokens", model=model)
    assert only("missing_normalisation", subject).status is Status.PASS
    assert only("double_normalisation", subject).status is Status.PASS


def test_the_widest_columns_are_named(make, only):
    """The finding names columns of a frame by name."""
    step = make_column_transformer(("passthrough", ["age", "income"]), (OneHotEncoder(), ["city"]))
    finding = only("missing_normalisation", make("table", preprocess=step, model=linear()))
    assert finding.status is Status.FAIL
    assert "age" in str(finding.where)


@pytest.mark.parametrize(
    "step",
    [
        [("to unit", lambda X: X / 255), ("again", lambda X: X / 255)],
        [("to unit", lambda X: X / 255), ("normalise", lambda X: (X / 255 - 0.5) / 0.5)],
    ],
    ids=["twice", "into a constant"],
)
def test_pixels_scaled_twice_fail(make, only, step):
    """Dividing pixels by 255 twice fails."""
    finding = only("double_normalisation", make("images", preprocess=step, model=linear(2)))
    assert finding.status is Status.FAIL
    assert finding.faults == {"double_normalisation": 0.75}


def test_the_step_that_scales_again_is_named(make, only):
    """Digits divided by 16 twice: the second step is the place."""
    steps = [("scale", lambda X: X / 16), ("scale again", lambda X: X / 16)]
    finding = only("double_normalisation", make("digits", preprocess=steps, model=linear()))
    assert finding.status is Status.FAIL
    assert str(finding.where) == "scale again"


def sparse_text(n=200, width=3000):
    rng = np.random.default_rng(0)
    X = np.zeros((n, width), np.float32)
    X[np.arange(n)[:, None], rng.integers(0, width, (n, 8))] = 0.35
    return X, rng.integers(0, 2, n)


@pytest.mark.parametrize(
    ("source", "step"),
    [
        ("diabetes", None),
        ("wine", StandardScaler()),
        ("images", lambda X: X / 255),
        ("digits", lambda X: X / 16),
        ("digits", [("scale", lambda X: X / 16), ("centre", lambda X: X - 0.3)]),
    ],
)
def test_inputs_scaled_once_pass(make, only, source, step):
    """Small but healthy scales pass."""
    assert only("double_normalisation", make(source, preprocess=step, model=linear())).status is Status.PASS


def test_sparse_columns_are_not_scaled_twice(make, only):
    """Mostly empty text columns have a small deviation, and are fine."""
    assert only("double_normalisation", make(sparse_text(), model=linear())).status is Status.PASS


def houses(n=300, size=200_000.0):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 5))
    return X, size * (1 + 0.3 * X[:, 0] + 0.1 * X[:, 1] ** 2)


def regressor():
    return nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 1))


def test_prices_as_targets_fail(make, only):
    """Targets of 200,000 fail."""
    assert only("target_not_scaled", make(houses(), task="regression", model=regressor)).status is Status.FAIL


def test_prices_are_no_fault_of_an_estimator_that_copes_with_them(make, only):
    """Boosted trees and linear models do, whatever the scale; a network of scikit-learn's does not."""
    models = (Ridge(), MLPRegressor((8,), max_iter=5, random_state=0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [only("target_not_scaled", make(houses(), task="regression", model=model)).status for model in models]
    assert found == [Status.WARN, Status.FAIL]


def test_standardised_targets_pass(make, only):
    """Targets of order one pass."""
    assert only("target_not_scaled", make(houses(size=1.0), task="regression", model=regressor)).status is Status.PASS


@pytest.mark.parametrize(("rate", "epochs", "status"), [(5e-2, 25, Status.WARN), (1e-4, 2, Status.FAIL)])
def test_targets_in_hundreds_depend_on_what_the_model_makes_of_them(make, only, rate, epochs, status):
    """Diabetes scores of 25–346 warn where a net learns them, and fail where it does worse than a linear model."""
    training = Training(optimizer=partial(torch.optim.Adam, lr=rate), epochs=epochs, batch_size=32)
    model = lambda: nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 1))  # noqa: E731
    subject = make("diabetes", preprocess=StandardScaler(), model=model, training=training)
    assert only("target_not_scaled", subject).status is status
