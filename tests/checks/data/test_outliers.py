"""Rows and images of noise are found; heavy tails, rare values, clusters and classes odd by nature are not."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_digits, load_wine, make_blobs

from firstfault.finding import Status


def corrupted(X, share, kind, seed=0):
    """Inputs with noise in a share of their rows, in place of the values or added to them."""
    rng = np.random.default_rng(seed)
    X = X.copy()
    rows = rng.random(len(X)) < share
    noise = rng.normal(size=(rows.sum(), X.shape[1])) * X.std(0)
    X[rows] = X.mean(0) + 3 * noise if kind == "replaced" else X[rows] + 5 * noise
    return X


def correlated(n=900, seed=0):
    """Twelve columns that three hidden numbers move, some of them skewed; two classes."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(n, 3))
    X = hidden @ rng.normal(size=(3, 12)) + rng.normal(0, 0.3, (n, 12))
    X[:, :3] = np.exp(X[:, :3])
    return X, (hidden[:, 0] > 0).astype(int)


@pytest.mark.parametrize("load", [lambda: load_breast_cancer(return_X_y=True), correlated], ids=["cancer", "made"])
@pytest.mark.parametrize("kind", ["replaced", "added"])
@pytest.mark.parametrize("share", [0.1, 0.25])
def test_rows_of_noise_are_found(make, only, load, kind, share):
    """Their share, and their rows in the table."""
    X, y = load()
    subject = make((corrupted(X, share, kind), y))
    finding = only("noisy_rows", subject)
    assert finding.status is Status.FAIL
    assert finding.faults == {"noisy_features": 0.75}
    assert finding.value == pytest.approx(share, abs=0.06)
    assert list(pd.read_csv(subject.folder / "outliers.csv").columns[:2]) == ["train_row", "distance"]


def heavy(n=1200, seed=0):
    """Independent columns with heavy tails, and a count that is mostly zero, as Adult's capital gain."""
    rng = np.random.default_rng(seed)
    gain = np.where(rng.random(n) < 0.08, rng.integers(1000, 99999, n), 0)
    return np.column_stack(
        [rng.lognormal(0, 1.5, (n, 3)), rng.standard_t(2, (n, 3)), rng.poisson(20, n), gain]
    ), rng.integers(0, 2, n)


@pytest.mark.parametrize(
    "source",
    [
        heavy,
        correlated,
        lambda: load_breast_cancer(return_X_y=True),
        lambda: load_wine(return_X_y=True),
        lambda: make_blobs([700, 200, 100], 8, cluster_std=[1.0, 2.0, 0.5], random_state=0),
        lambda: (np.eye(12)[np.random.default_rng(0).integers(0, 12, 600)], np.arange(600) % 2),
    ],
    ids=["heavy tails", "correlated", "cancer", "wine", "clusters", "one-hot"],
)
def test_healthy_tables_have_none(make, only, source):
    """Skewed, clustered, sparse."""
    assert only("noisy_rows", make(source())).status in (Status.PASS, Status.SKIPPED)


def test_a_class_of_noise_is_by_nature(make, only):
    """Echoes of nothing are a class of their own, as in radar data."""
    X, _ = correlated()
    y = np.arange(len(X)) % 4 == 0
    X[y] = np.random.default_rng(0).normal(0, 6, (y.sum(), 12))
    finding = only("noisy_rows", make((X, y.astype(int))))
    assert finding.status is Status.PASS
    assert "of one class" in finding.message


def pictures():
    """Digits, each pixel as 3 × 3 pixels, smoothed."""
    digits = load_digits()
    large = np.kron(digits.images, np.ones((3, 3)))
    return (large + np.roll(large, 1, 1) + np.roll(large, 1, 2)) / 3, digits.target


@pytest.mark.parametrize("layout", ["N,H,W", "N,C,H,W", "N,H,W,C"])
@pytest.mark.parametrize("kind", ["noise", "of one value", "saturated"])
def test_images_without_content_are_found(make, only, layout, kind):
    """One image in twenty; the picture shows some."""
    X, y = pictures()
    X = X + np.random.default_rng(1).uniform(0, 0.5, X.shape)
    rows = np.arange(len(X)) % 20 == 0
    new = {
        "noise": np.random.default_rng(0).uniform(0, 16, X[rows].shape),
        "of one value": np.full(X[rows].shape, 3.0),
        "saturated": np.where(np.random.default_rng(2).random(X[rows].shape) < 0.01, 0.0, 17.0),
    }[kind]
    X[rows] = new
    X = {"N,H,W": X, "N,C,H,W": X[:, None], "N,H,W,C": np.repeat(X[..., None], 3, 3)}[layout]
    subject = make((X, y))
    finding = only("images_without_content", subject)
    assert finding.status is Status.FAIL
    assert finding.value == pytest.approx(0.05, abs=0.02)
    assert kind in finding.message
    assert finding.artifacts == ("outliers.svg",)


def test_healthy_images_have_content(make, only):
    """Small and large digits, photographs' gradients."""
    for source in (pictures(), (load_digits().images, load_digits().target), "images"):
        assert only("images_without_content", make(source)).status is Status.PASS


def test_a_blank_class_is_by_nature(make, only):
    """A class of empty slides is what it looks like, and worth a look only."""
    X, y = pictures()
    X = np.where((y == 3)[:, None, None], 0.0, X)
    assert only("images_without_content", make((X, y))).status is Status.WARN


def test_what_is_no_table_of_numbers_is_skipped(make, only):
    """Texts, few rows, images and tokens."""
    texts = pd.DataFrame({"text": [f"word {i}" for i in range(300)], "target": np.arange(300) % 2})
    for subject in (make(texts, label="target"), make("images"), make("iris")):
        assert only("noisy_rows", subject).status is Status.SKIPPED
    assert only("images_without_content", make("tokens")).status is Status.SKIPPED
