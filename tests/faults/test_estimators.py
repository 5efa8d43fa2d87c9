"""Programs with an estimator, each with one planted fault and its healthy twin."""

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from firstfault import Data, Deployment, Target
from firstfault.check import Depth
from firstfault.diagnosis import diagnose
from firstfault.subject.subject import Subject

COLUMNS = [f"f{number}" for number in range(6)]
WILD = np.array([1e4, 1, 0.01, 1, 100, 1])


def rows(noise=0.6, scales=1.0, numbers=False):
    """800 rows of six columns, and a label that a linear model mostly gets right."""
    rng = np.random.default_rng(0)
    values = rng.normal(3, 1, size=(800, 6))
    score = (values - 3) @ [1, 0.7, -0.5, 0.3, 0, 0] + rng.normal(0, noise, len(values))
    return pd.DataFrame(values * scales, columns=COLUMNS).assign(
        y=10 + 3 * score if numbers else np.where(score > 0.3, "yes", "no")
    )


def leaking():
    """The rows with a column that is known only once the label is."""
    return rows().assign(closed=lambda X: (X.y == "yes") + np.random.default_rng(1).normal(0, 0.05, len(X)))


def apart(mistaken=0.0):
    """Two classes that lie apart, a share of the rows with the other's label."""
    rng = np.random.default_rng(1)
    label = rng.random(800) < 0.5
    values = pd.DataFrame(rng.normal(size=(800, 6)) + 1.5 * label[:, None], columns=COLUMNS)
    return values.assign(y=np.where(label ^ (rng.random(800) < mistaken), "yes", "no"))


def wild():
    """The rows with columns on scales from 0.01 to 10,000."""
    return rows(scales=WILD)


def target(model, data=rows, **parts):
    """A target of that model."""
    return Target(name="estimator", data=Data(train=data, label="y"), model=model, **parts)


def of_numbers(model):
    """A regression with that model."""
    return target(model, lambda: rows(numbers=True), task="regression")


def verdict_of(case, folder):
    """The verdict at depth quick; the first fault with what undoing it said."""
    verdict = diagnose(Subject(case, folder), Depth.QUICK)
    first = verdict.faults[0] if verdict.faults else None
    return verdict.status.value, first and (first.layer.value, first.fault, first.confirmed)


ON_ALL = StandardScaler().fit(wild()[COLUMNS])
LINEAR = make_pipeline(StandardScaler(), LogisticRegression())
FAULTY = {
    "a column made of the label": (target(LINEAR, leaking), ("data", "target_leakage", None)),
    "labels that were mistaken": (target(LINEAR, lambda: apart(mistaken=0.2)), ("data", "label_noise", None)),
    "a scaler fitted on all rows, as a function": (
        target(LogisticRegression(), wild, preprocess=ON_ALL.transform),
        ("preprocessing", "fit_on_all_data", None),
    ),
    "a scaler fitted on all rows, in the pipeline": (
        target(make_pipeline(FunctionTransformer(ON_ALL.transform), LogisticRegression()), wild),
        ("preprocessing", "fit_on_all_data", None),
    ),
    "a scaler that comes fitted on all rows": (
        target(make_pipeline(ON_ALL, LogisticRegression()), wild),
        ("preprocessing", "fit_on_all_data", None),
    ),
    "neighbours on wild scales": (
        target(KNeighborsClassifier(9), wild),
        ("preprocessing", "missing_normalisation", True),
    ),
    "a tree that learns noise by heart": (
        target(DecisionTreeClassifier(), lambda: rows(noise=1.5)),
        ("training", "overfitting", True),
    ),
    "a penalty that drowns the data": (
        of_numbers(make_pipeline(StandardScaler(), Ridge(alpha=1e5))),
        ("training", "over_regularised", True),
    ),
    "three rounds of boosting": (
        of_numbers(GradientBoostingRegressor(n_estimators=3)),
        ("training", "too_few_epochs", True),
    ),
    "a served path without the scaler": (
        target(LINEAR, wild, deployment=Deployment(preprocess=lambda X: X.to_numpy())),
        ("deployment", "train_serve_skew", True),
    ),
}


@pytest.mark.parametrize("name", FAULTY)
def test_a_planted_fault_is_named(name, tmp_path):
    """The first faulty layer and the fault; confirmed by fitting anew where undoing it raises the score."""
    case, wanted = FAULTY[name]
    assert verdict_of(case, tmp_path / "run") == ("faulty", wanted)


HEALTHY = {
    "a pipeline": target(LINEAR, wild),
    "classes that lie apart": target(LINEAR, apart),
    "a forest on wild scales": target(RandomForestClassifier(n_estimators=30), wild),
    "neighbours on one scale": target(make_pipeline(StandardScaler(), KNeighborsClassifier(9)), wild),
    "ridge": of_numbers(lambda: make_pipeline(StandardScaler(), Ridge())),
    "boosting": of_numbers(GradientBoostingRegressor(n_estimators=100)),
    "saved and loaded": target(
        LINEAR, wild, deployment=Deployment(save=lambda model, path: joblib.dump(model, path), load=joblib.load)
    ),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_its_twin_is_healthy(name, tmp_path):
    """The same program without the fault has none."""
    assert verdict_of(HEALTHY[name], tmp_path / "run") == ("healthy", None)


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_boosted_trees_of_other_libraries_are_estimators(library, tmp_path):
    """A sound one is healthy, has a learning curve, and one of two rounds has too few."""
    module = pytest.importorskip(library)
    kind = getattr(module, {"xgboost": "XGBRegressor", "lightgbm": "LGBMRegressor"}[library])
    sound, short = (of_numbers(kind(n_estimators=number, learning_rate=0.1, n_jobs=1)) for number in (60, 2))
    assert len(Subject(sound, tmp_path / "curve").trained.epochs) == 12
    assert verdict_of(sound, tmp_path / "sound") == ("healthy", None)
    assert verdict_of(short, tmp_path / "short") == ("faulty", ("training", "too_few_epochs", True))
