"""Image axes that were moved by reshaping."""

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from firstfault.finding import Status


@pytest.mark.parametrize(
    "step",
    [
        lambda X: X.reshape(len(X), 3, 8, 8),
        lambda X: X.reshape(len(X), 3, 8, 8) / 255,
        lambda X: (X.reshape(-1, 3, 8, 8) - 100) / 50,
    ],
    ids=["view", "view and scale", "view and normalise"],
)
def test_a_reshape_where_a_permutation_is_due_fails(make, only, step):
    """(N, H, W, 3) viewed as (N, 3, H, W) tears pixels apart."""
    finding = only("scrambled_axes", make("images", preprocess=step))
    assert finding.status is Status.FAIL
    assert finding.faults == {"scrambled_axes": 0.95}


def moved(torn):
    """Smooth pictures `(N, 3, 12, 12)` of three colours, and a step that keeps their shape."""
    rows, columns = np.mgrid[:12, :12] / 12
    rng = np.random.default_rng(0)
    X = np.stack([rows, columns, 1 - rows]) * rng.uniform(50, 200, (40, 3, 1, 1)) + rng.normal(0, 3, (40, 3, 12, 12))
    step = (lambda X: X.transpose(0, 2, 3, 1).reshape(X.shape) / 255) if torn else (lambda X: X[:, ::-1, ::-1] / 255)
    return (X, np.arange(40) % 2), step


@pytest.mark.parametrize(("torn", "status"), [(True, Status.FAIL), (False, Status.PASS)])
def test_pixels_that_a_step_tears_apart_fail_in_any_shape(make, only, torn, status):
    """A picture that keeps its shape and its values, not its neighbours; one that is mirrored keeps them."""
    source, step = moved(torn)
    assert only("scrambled_axes", make(source, preprocess=step)).status is status


def normalised_channels(X):
    X = X.transpose(0, 3, 1, 2) / 255
    return (X - X.mean((0, 2, 3), keepdims=True)) / X.std((0, 2, 3), keepdims=True)


@pytest.mark.parametrize(
    "step", [lambda X: X.transpose(0, 3, 1, 2), normalised_channels, lambda X: X.transpose(0, 3, 2, 1)]
)
def test_permuted_axes_pass(make, only, step):
    """Permuting, normalising per channel and transposing images are fine."""
    assert only("scrambled_axes", make("images", preprocess=step)).status is Status.PASS


def test_noise_without_neighbours_is_compared_as_well(make, only):
    """Images of pure noise that are permuted pass."""
    X = np.random.default_rng(0).random((80, 8, 8, 3))
    assert (
        only("scrambled_axes", make((X, np.arange(80) % 2), preprocess=lambda X: X.transpose(0, 3, 1, 2))).status
        is Status.PASS
    )


@pytest.mark.parametrize(
    ("source", "step"), [("digits", lambda X: X.reshape(-1, 1, 8, 8)), ("wine", StandardScaler()), ("tokens", None)]
)
def test_other_data_are_skipped(make, only, source, step):
    """Grey images, tables and tokens have no channels to move."""
    assert only("scrambled_axes", make(source, preprocess=step)).status is Status.SKIPPED
