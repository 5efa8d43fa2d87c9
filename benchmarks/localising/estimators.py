"""Estimators as base programs: a pipeline of scikit-learn and boosted trees, and the faults that apply to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
from localising.faults import FaultKind, Plant
from localising.programs import Program, Rng, tabular
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from firstfault import Data, Deployment, Splits, Target, Training


@dataclass
class Fitted(Program):
    """A program whose model is an estimator: it has a metric and a seed, and no loss."""

    def target(self, name: str) -> Target:
        """The target that firstfault is given."""
        return Target(
            name,
            task=self.task,
            data=Data(**self.data),
            preprocess=self.preprocess,
            prepare=self.prepare,
            model=self.build,
            training=Training(metric="balanced_accuracy", seed=self.seed),
            deployment=self.deployment,
        )


def _fitted(kind: str, data: Any, build: Callable[[], Any], rng: Rng) -> Fitted:
    return Fitted(kind, "classification", {"train": data}, build, None, 0.0, 0, 0, seed=int(rng.integers(100)))


def pipeline(rng: Rng) -> Fitted:
    """A table, standardised within the pipeline, and a logistic regression or a support vector machine."""
    X, y = tabular(rng, int(rng.integers(2, 5)))
    cost = float(10 ** rng.uniform(-0.5, 1))
    kind = (LogisticRegression, SVC)[int(rng.integers(2))]
    return _fitted("sklearn pipeline", (X, y), lambda: make_pipeline(StandardScaler(), kind(C=cost)), rng)


def boosted(rng: Rng) -> Fitted:
    """A table and boosted trees: scikit-learn's, LightGBM's or XGBoost's, where they are installed."""
    X, y = tabular(rng, int(rng.integers(2, 5)))
    rounds, leaves, seed = int(rng.integers(30, 80)), int(rng.integers(6, 20)), int(rng.integers(100))
    kinds: list[Callable[[], Any]] = [
        lambda: HistGradientBoostingClassifier(max_iter=rounds, max_leaf_nodes=leaves, random_state=seed)
    ]
    if find_spec("lightgbm"):
        from lightgbm import LGBMClassifier

        kinds.append(lambda: LGBMClassifier(n_estimators=rounds, num_leaves=leaves, random_state=seed, verbose=-1))
    if find_spec("xgboost"):
        from xgboost import XGBClassifier

        kinds.append(lambda: XGBClassifier(n_estimators=rounds, max_leaves=leaves, random_state=seed))
    return _fitted("boosted trees", (X, y), kinds[int(rng.integers(len(kinds)))], rng)


ESTIMATORS = (pipeline, boosted)
ESTIMATOR_FAULTS: list[FaultKind] = []


def fault(layer: str, *, hurts: bool = True) -> Callable[[Plant], Plant]:
    """Register a function named after the fault that it plants into an estimator's program."""

    def register(plant: Plant) -> Plant:
        ESTIMATOR_FAULTS.append(FaultKind(plant.__name__, layer, plant, hurts, ESTIMATORS))
        return plant

    return register


def _table(program: Program) -> tuple[np.ndarray, np.ndarray]:
    X, y = program.data["train"]
    return np.array(X), np.array(y)


def _with(program: Program, X: Any, y: Any, **more: Any) -> Program:
    return replace(program, data={**program.data, "train": (X, y), **more})


@fault("data")
def label_noise(program: Program, rng: Rng) -> Program | None:
    """A third of the labels is another class."""
    X, y = _table(program)
    wrong, classes = rng.random(len(y)) < rng.uniform(0.25, 0.4), int(y.max()) + 1
    return _with(program, X, np.where(wrong, (y + rng.integers(1, classes, len(y))) % classes, y))


@fault("data")
def random_labels(program: Program, rng: Rng) -> Program | None:
    """Labels joined to the wrong rows."""
    X, y = _table(program)
    return _with(program, X, rng.permutation(y))


@fault("data", hurts=False)
def target_leakage(program: Program, rng: Rng) -> Program | None:
    """A column that is a code of the label."""
    X, y = _table(program)
    X[:, int(rng.integers(X.shape[1]))] = rng.permutation(50)[: int(y.max()) + 1][y] + rng.normal(0, 0.01, len(y))
    return _with(program, X, y)


@fault("data", hurts=False)
def split_overlap(program: Program, rng: Rng) -> Program | None:
    """A declared test split shares rows with train."""
    X, y = _table(program)
    order, cut = rng.permutation(len(X)), int(0.8 * len(X))
    test = np.concatenate([order[cut:], order[: len(X) // 12]])
    return _with(program, X[order[:cut]], y[order[:cut]], test=(X[test], y[test]))


@fault("data")
def class_imbalance(program: Program, rng: Rng) -> Program | None:
    """Of all classes but one, a fiftieth is left, and the estimator weighs none."""
    X, y = _table(program)
    kept = (y == 0) | (rng.random(len(y)) < 0.04)
    return _with(program, X[kept], y[kept]) if np.bincount(y[kept]).min() >= 10 else None


@fault("preprocessing", hurts=False)
def fit_on_all_data(program: Program, rng: Rng) -> Program | None:
    """A scaler before the estimator sees the test rows."""

    def prepare(splits: Splits) -> Splits:
        scaler = StandardScaler().fit(np.concatenate([split.X for _, split in splits.items()]))
        return Splits(*((scaler.transform(split.X), split.y) for _, split in splits.items()))

    return replace(program, prepare=prepare)


@fault("preprocessing")
def inconsistent_transform(program: Program, rng: Rng) -> Program | None:
    """Train is scaled, the rest is not."""

    def prepare(splits: Splits) -> Splits:
        scaled = StandardScaler().fit_transform(splits.train.X)
        return Splits((scaled, splits.train.y), splits.validation, splits.test)

    return replace(program, prepare=prepare)


@fault("preprocessing")
def misaligned_labels(program: Program, rng: Rng) -> Program | None:
    """Inputs of train shuffled without their labels."""

    def prepare(splits: Splits) -> Splits:
        order = np.random.default_rng(3).permutation(len(splits.train.X))
        return Splits((splits.train.X[order], splits.train.y), splits.validation, splits.test)

    return replace(program, prepare=prepare)


@fault("deployment", hurts=False)
def train_serve_skew(program: Program, rng: Rng) -> Program | None:
    """The service scales otherwise."""
    return replace(program, deployment=Deployment(preprocess=lambda X: X / 10))
