"""Labels: their balance, their classes, and whether the inputs have anything to do with them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from firstfault.check import Judgement, check, passed, skipped
from firstfault.checks.data.rows import table
from firstfault.finding import Layer, Status
from firstfault.splits import to_array
from firstfault.stages import numbers

FEWEST_ROWS = 80
MOST_ROWS = 3_000
MOST_COLUMNS = 1_024


@check(layer=Layer.DATA, needs={"raw"}, detects={"class_imbalance": 0.7})
def class_imbalance(subject: Any, *, entropy: float = 0.5, ratio: float = 10.0) -> Iterator[Judgement]:
    """Find one class drowning the rest; `value` is the normalised label entropy, 0–1.

    A fault below `entropy` when the largest class is also more than `ratio` times the smallest, and the loss
    has no class weights. A swap (balanced training, judged by balanced accuracy) has to confirm it.

    Source: FAULTS of this project (normalised entropy < 0.5, max/min > 10).
    """
    if subject.target.task != "classification":
        yield skipped("the task has no classes")
        return
    counts = pd.Series(to_array(subject.raw.train.y).reshape(len(subject.raw.train.y), -1)[:, 0]).value_counts()
    if len(counts) < 2:
        yield skipped("there is one class only")
        return
    share = counts / counts.sum()
    value = float(-(share * np.log(share)).sum() / np.log(len(share)))
    lopsided = float(counts.max() / counts.min())
    weighted = getattr(getattr(subject.target.training, "loss", None), "weight", None) is not None
    bad = value < entropy and lopsided > ratio and not weighted
    yield Judgement(
        Status.FAIL if bad else Status.PASS,
        f"the largest class has {lopsided:.1f} times the samples of the smallest, normalised entropy {value:.2f}",
        value=value, threshold=entropy, where="train labels", fix="weight the loss by class, or resample train" if bad else None,
    )


@check(layer=Layer.DATA, needs={"raw"}, detects={"missing_class": 0.95})
def missing_class(subject: Any) -> Iterator[Judgement]:
    """Find classes that train lacks, or a train of one class; `value` is how many are missing."""
    if subject.target.task != "classification" or to_array(subject.raw.train.y).ndim != 1:
        yield skipped("the task has no single class label")
        return
    known = {name: set(pd.unique(pd.Series(to_array(split.y)).dropna())) for name, split in subject.raw.items()}
    if len(known["train"]) < 2:
        only = next(iter(known["train"]), "none")
        yield Judgement(Status.FAIL, f"train has one class only: {only}", value=1, threshold=2, where="train labels",
                        fix="collect the other classes, or look at the query and the split")
        return
    unseen = (known["validation"] | known["test"]) - known["train"]
    if unseen:
        names = ", ".join(sorted(map(str, unseen))[:5])
        yield Judgement(Status.FAIL, f"{len(unseen)} classes occur in validation or test, but not in train: {names}",
                        value=len(unseen), threshold=0, where="train labels", fix="split at random, stratified by label")
        return
    yield passed(f"train has all {len(known['train'])} classes")


@check(layer=Layer.DATA, needs={"raw"}, detects={"label_noise": 0.75, "random_labels": 0.6})
def labels_against_inputs(subject: Any, *, errors: float = 0.08, evenness: float = 0.55, fewest: int = 4) -> Iterator[Judgement]:
    """Find labels that inputs cannot explain, by out-of-fold predictions of two fast models.

    On hard but clean data the surest predictions have few errors; wrong labels are spread evenly, so that they are there too.
    `value` is the error rate among the surest fifth. It is label noise above `errors`, when that is more than `evenness` of the
    error rate of all rows. Weak signals are even by nature, so the bound rises as the models' skill (0 for a constant answer,
    1 for a perfect one) falls below one half. A model no better than a constant answer points to random labels, when the
    trained network finds nothing either.

    Source: confident learning (Northcutt et al. 2021); TheDeepChecker for shuffled labels; bounds chosen on
    48 clean and 64 noisy sets, and not tested on others.
    """
    found = _out_of_fold(subject)
    if found is None:
        yield skipped(f"only classes and table-like inputs of at least {FEWEST_ROWS} rows are looked at")
        return
    probabilities, y = found
    wrong = probabilities.argmax(1) != y
    prior, accuracy = float(np.bincount(y).max() / len(y)), float(1 - wrong.mean())
    error = 2 * float(np.sqrt(prior * (1 - prior) / len(y)))
    if accuracy <= prior + error:
        yield _no_signal(subject, accuracy, prior, error)
        return
    skill = (accuracy - prior) / max(1 - prior, 1e-9)
    surest = wrong[np.argsort(-probabilities.max(1))[: max(20, len(y) // 5)]]
    even = evenness + 1.5 * max(0.0, 0.5 - skill)
    noisy = surest.mean() > errors and surest.sum() >= fewest and surest.mean() > even * wrong.mean()
    yield Judgement(
        Status.FAIL if noisy else Status.PASS,
        f"{surest.mean():.1%} of the surest out-of-fold predictions disagree with their label, {wrong.mean():.1%} of all",
        value=float(surest.mean()), threshold=errors, where="train labels", faults={"label_noise": 0.75} if noisy else None,
        fix="review the rows where a confident model disagrees" if noisy else None,
    )


def _no_signal(subject: Any, accuracy: float, prior: float, error: float) -> Judgement:
    try:
        trained = subject.trained
        score, name = trained.score, trained.metric
    except Exception:
        return skipped("a fast model finds no signal, and the network could not be trained")
    if name == "accuracy" and score <= prior + max(0.05, error):
        return Judgement(
            Status.FAIL, f"neither a fast model ({accuracy:.2f}) nor the network ({score:.2f}) beats a constant answer ({prior:.2f})",
            value=accuracy, threshold=prior + error, where="train labels", faults={"random_labels": 0.55},
            fix="check how labels were joined to inputs",
        )
    return passed(f"a fast model finds no signal, but the network does ({name} {score:.2f})")


def _out_of_fold(subject: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]] | None:
    """Out-of-fold class probabilities `(N, K)` and class ids `(N,)` of at most 3,000 training rows."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train = subject.raw.train
    y = to_array(train.y)
    if subject.target.task != "classification" or y.ndim != 1 or len(y) < FEWEST_ROWS or pd.isna(y).any():
        return None
    X = encoded(train.X)
    codes, classes = pd.factorize(pd.Series(y))
    if X is None or X.shape[1] > MOST_COLUMNS or len(classes) < 2 or len(classes) > 50:
        return None
    rows = np.random.default_rng(0).permutation(len(y))[:MOST_ROWS]
    X, codes = X[rows], codes[rows]
    if np.bincount(codes, minlength=len(classes)).min() < 5:
        return None
    X = np.nan_to_num(X, nan=0.0, posinf=0.0, neginf=0.0)
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=100))
    trees = RandomForestClassifier(60, min_samples_leaf=3 if len(y) < 500 else 5, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answers = [cross_val_predict(model, X, codes, cv=4, method="predict_proba") for model in (linear, trees)]
    return np.mean(answers, axis=0), codes


def encoded(X: Any) -> np.ndarray[Any, Any] | None:
    """Inputs as numbers `(N, D)`: categories by frequency order, arrays flattened; None for nothing numeric."""
    if isinstance(X, pd.DataFrame):
        frame = table(X)
        if frame is None:
            return None
        columns = [
            frame[name].to_numpy(dtype=float, na_value=np.nan) if pd.api.types.is_numeric_dtype(frame[name])
            else pd.factorize(frame[name].astype(str))[0].astype(float)
            for name in frame.columns
        ]
        return np.column_stack(columns) if columns else None
    values = numbers(X)
    return values.reshape(len(values), -1) if values.size else None


@check(layer=Layer.DATA, needs={"raw"}, detects={"target_leakage": 0.92})
def target_leakage(subject: Any, *, gives_away: float = 0.99, ordinary: float = 0.9) -> Iterator[Judgement]:
    """Find a column that gives the label away: alone it predicts as well as `gives_away`, while the next best stays below `ordinary`.

    `value` is the held-out balanced accuracy (R² for numbers) of a shallow tree on that column alone.

    Source: Kapoor & Narayanan 2023; easily separable data (iris) have several strong columns.
    """
    from sklearn.metrics import balanced_accuracy_score, r2_score
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    train = subject.raw.train
    frame, y = table(train.X), to_array(train.y)
    if frame is None or y.ndim != 1 or len(y) < 100 or subject.target.task not in ("classification", "regression") or frame.shape[1] < 2:
        yield skipped("only tables of at least 100 rows and 2 columns are looked at")
        return
    rows = np.random.default_rng(0).permutation(len(y))[:MOST_ROWS]
    X = encoded(frame)
    assert X is not None
    X = np.nan_to_num(X[rows], nan=-1e9)
    classes = subject.target.task == "classification"
    target = pd.factorize(pd.Series(y))[0][rows] if classes else y[rows].astype(float)
    half = len(rows) // 2
    scores = {}
    for index, name in enumerate(frame.columns):
        model = DecisionTreeClassifier(max_leaf_nodes=32, random_state=0) if classes else DecisionTreeRegressor(max_leaf_nodes=128, random_state=0)
        predicted = model.fit(X[:half, index:index + 1], target[:half]).predict(X[half:, index:index + 1])
        scores[str(name)] = float((balanced_accuracy_score if classes else r2_score)(target[half:], predicted))
    ranked = sorted(scores, key=lambda name: -scores[name])
    best, second = scores[ranked[0]], scores[ranked[1]]
    leaks = [name for name in ranked if scores[name] >= gives_away]
    rest = [scores[name] for name in ranked if name not in leaks]
    found = bool(leaks) and len(leaks) <= max(1, len(ranked) // 4) and max(rest, default=0.0) < ordinary
    yield Judgement(
        Status.FAIL if found else Status.PASS,
        f"{ranked[0]} alone predicts the label with {best:.3f}, the next column with {second:.3f}", value=best, threshold=gives_away,
        where=", ".join(leaks) if found else None, fix="drop the column: it is not known at prediction time" if found else None,
    )


