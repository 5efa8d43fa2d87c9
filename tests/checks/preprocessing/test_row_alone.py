"""Steps that take statistics from the rows they are given: a row alone, as it is served, comes out as another."""

import numpy as np
import pandas as pd
import pytest
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import StandardScaler, minmax_scale, normalize, scale

from firstfault.checks.preprocessing._row_alone import moved_alone
from firstfault.finding import Status
from firstfault.place import Place


def own_statistics(X):
    """Standardise by the mean and deviation of whatever comes."""
    return (X - X.mean(0)) / (X.std(0) + 1e-8)


class Forgetful:
    """A scaler whose fit keeps nothing."""

    def fit(self, X):
        """Learn nothing."""
        return self

    def transform(self, X):
        """Standardise by the rows themselves."""
        return own_statistics(X)


def brightness_of_all(images):
    """Images by the mean and deviation of all that come."""
    return (images - images.mean()) / (images.std() + 1e-6)


def each_by_itself(images):
    """Images by their own mean and deviation each."""
    middle, spread = images.mean((1, 2, 3), keepdims=True), images.std((1, 2, 3), keepdims=True)
    return (images - middle) / (spread + 1e-6)


def gaps():
    """A frame of 240 rows, some of whose numbers are missing."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(5, 2, (240, 4)), columns=list("abcd"))
    return frame.mask(rng.random(frame.shape) < 0.03).assign(kind=(frame.a > 5).astype(int))


def towns():
    """A frame with a column of three towns."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"size": rng.normal(size=240), "town": rng.choice(["Bern", "Oslo", "Rome"], 240)})
    return frame.assign(kind=(frame["size"] > 0).astype(int))


def target(make, source, step):
    """A target of a named table, or of a frame whose label is `kind`, that a step prepares."""
    named = isinstance(source, str)
    return make(source if named else source(), preprocess=step, label=None if named else "kind")


GIVEN = {
    "z-scores": ("breast_cancer", own_statistics),
    "z-scores of a small table": ("wine", own_statistics),
    "without a guard": ("diabetes", lambda X: (X - X.mean(0)) / X.std(0)),
    "scikit-learn's function": ("breast_cancer", scale),
    "ranges": ("iris", minmax_scale),
    "lengths of columns": ("wine", lambda X: normalize(X, axis=0)),
    "a fit that keeps nothing": ("wine", Forgetful()),
    "brightness of all images": ("images", brightness_of_all),
    "one column of many": ("wine", [("fit", StandardScaler()), ("one", lambda X: np.c_[X[:, :-1], scale(X[:, -1:])])]),
    "gaps filled from neighbours": (gaps, lambda X: X.fillna(X.mean())),
    "ranks": (gaps, [("fill", SimpleImputer()), ("rank", lambda X: pd.DataFrame(X).rank(pct=True))]),
    "codes of what comes": (towns, lambda X: X.assign(town=pd.factorize(X.town, sort=True)[0])),
    "dummies of what comes": (towns, lambda X: pd.get_dummies(X)),
}


@pytest.mark.parametrize("name", GIVEN)
def test_statistics_of_the_rows_that_come_fail(make, only, name):
    """However large the splits are, and however well it trains: the step is named."""
    subject = target(make, *GIVEN[name])
    finding = only("batch_dependent_transform", subject)
    assert finding.status is Status.FAIL
    assert finding.faults == {"batch_dependent_transform": 0.92}
    assert finding.where == Place.stage(subject.pipeline.stages[-1].name)


SOUND = {
    "fitted": ("breast_cancer", StandardScaler()),
    "each image by itself": ("images", each_by_itself),
    "each row by itself": ("wine", [("fit", StandardScaler()), ("length", normalize)]),
    "gaps filled by fit": (gaps, [("fill", SimpleImputer()), ("fit", StandardScaler())]),
    "gaps that stay": (gaps, lambda X: X * 2),
    "codes by name": (towns, lambda X: X.assign(town=X.town.map({"Bern": 0, "Oslo": 1, "Rome": 2}))),
    "dummies of known towns": (
        towns,
        lambda X: pd.get_dummies(X).reindex(columns=["size", "town_Bern", "town_Oslo", "town_Rome"], fill_value=False),
    ),
}


@pytest.mark.parametrize("name", SOUND)
def test_steps_that_look_at_one_row_or_at_train_pass(make, only, name):
    """What was fitted on train, and what a row says of itself, is the same for a row alone."""
    assert only("batch_dependent_transform", target(make, *SOUND[name])).status is Status.PASS


def test_a_step_that_refuses_or_drops_a_single_row_is_left_alone(make):
    """Only what comes out for a row alone is compared."""

    def several(X):
        if len(X) < 2:
            raise ValueError("several rows, please")
        return X

    for step in (several, lambda X: X[1:] if len(X) < 2 else X):
        assert moved_alone(make("wine", preprocess=step), [make("wine").raw.validation.X], 0.2) is None
