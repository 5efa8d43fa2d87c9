"""What fast models answer on training rows they were not fitted on: the ground for judging labels, rows and slices."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from firstfault.checks.data._contents import contents, most_rows, wordings
from firstfault.checks.data.leakage import leaking_columns
from firstfault.data.frames import table
from firstfault.data.splits import to_array
from firstfault.subject.baselines import MOST_COLUMNS
from firstfault.subject.memo import memo
from firstfault.subject.subject import Subject
from firstfault.texts import as_text
from firstfault.training.stages import numbers

Array = np.ndarray[Any, Any]

FEWEST_ROWS = 80  # twenty to answer in each fold
MOST_ROWS = 3_000  # the next three bound the time of the fits; a share of so many rows errs by 0.4 % at 5 %
MOST_CLASSES = 50  # 3,000 rows have 60 of each in the mean, of which each fold answers 15
FEWEST_OF_A_CLASS = 5  # one at least in each fold, and one more
INDICATED = 12  # categories of a column with an indicator of their own
OF_WORDS = 0.003  # C where words are columns: hundreds of them learn wrong labels by heart, as sure as of right ones
MOST_LABELS = 10  # of several labels at once: those that both occur and lack, each costs the fits of a class label
FEWEST_GRADES = 4  # of three, two thirds of all wrong labels are next to the right one
NEXT = 0.8  # of what is answered wrong: of labels replaced at random among four grades, half is
FOLDS = 4  # each model learns from three quarters of the rows, and each fold costs a fit of both


class OutOfFold(NamedTuple):
    """The rows looked at and what is known of them.

    `rows` `(N,)` are positions in the training split, `y` `(N,)` class ids, `classes` their values, `linear` and
    `trees` `(N, K)` the probabilities of the two models, and `inputs` `(N, D)` the numbers that the first was given.
    """

    rows: Array
    y: Array
    classes: Array
    linear: Array
    trees: Array
    inputs: Array

    @property
    def probabilities(self) -> Array:
        """The mean of the two models `(N, K)`."""
        return np.asarray((self.linear + self.trees) / 2)

    @property
    def wrong(self) -> Array:
        """Whether the likeliest class is not the given one `(N,)`."""
        return np.asarray(self.probabilities.argmax(1) != self.y)

    @property
    def graded(self) -> bool:
        """Whether the classes are numbers in an order, and nearly all that is answered wrong is next to what is given.

        Wrong labels lie anywhere; the noise of what is rounded to grades, stars or ages does not.
        """
        if self.classes.dtype.kind not in "iuf" or len(self.classes) < FEWEST_GRADES:
            return False
        ranks = self.classes.argsort().argsort()
        apart = np.abs(ranks[self.probabilities.argmax(1)] - ranks[self.y])[self.wrong]
        return bool(len(apart) and (apart == 1).mean() > NEXT)


@memo(of="raw")
def out_of_fold(subject: Subject) -> OutOfFold | None:
    """Out-of-fold probabilities of at most 3,000 training rows, made once; None for what has no classes or no numbers.

    Columns that give the label away are left out: they would repeat a wrong label as well.
    """
    return _predicted(subject)


@memo(of="raw")
def label_pairs(subject: Subject) -> OutOfFold | None:
    """The same of several labels: each pair of a row and a label counts as a row of the two classes "without", "with".

    None for another task, for what has no numbers, or where no label both occurs and lacks.
    """
    train = subject.raw.train
    y = to_array(train.y)
    if subject.target.task != "multilabel" or y.ndim != 2 or len(y) < FEWEST_ROWS or not np.isin(y, (0, 1)).all():
        return None
    rows = sampled(len(y), max(FEWEST_ROWS, most_rows(train.X, MOST_ROWS) // min(MOST_LABELS, y.shape[1])))
    labels = y[rows].astype(int).T
    known = [given for given in labels if FEWEST_OF_A_CLASS <= given.sum() <= len(given) - FEWEST_OF_A_CLASS]
    inputs, coded = seen(subject, _without(train.X, leaking_columns(subject)), rows)
    if inputs is None or coded is None or not known:
        return None
    answered = [_probabilities(inputs, coded, given, 1.0, small=len(y) < 500) for given in known[:MOST_LABELS]]
    linear, trees = (np.concatenate(model) for model in zip(*answered, strict=True))
    return OutOfFold(
        np.tile(rows, len(answered)), np.concatenate(known[:MOST_LABELS]), np.arange(2), linear, trees, inputs
    )


def sampled(count: int, most: int = MOST_ROWS) -> Array:
    """The positions of at most `most` of `count` rows, in random order, the same in every check."""
    return np.random.default_rng(0).permutation(count)[:most]


def _predicted(subject: Subject) -> OutOfFold | None:
    train = subject.raw.train
    y = to_array(train.y)
    if subject.target.task != "classification" or y.ndim != 1 or len(y) < FEWEST_ROWS or pd.isna(y).any():
        return None
    codes, classes = pd.factorize(pd.Series(y))
    if not 2 <= len(classes) <= MOST_CLASSES:
        return None
    rows = sampled(len(y), most_rows(train.X, MOST_ROWS))
    codes = codes[rows]
    if np.bincount(codes, minlength=len(classes)).min() < FEWEST_OF_A_CLASS:
        return None
    X = _without(train.X, leaking_columns(subject))
    inputs, coded = seen(subject, X, rows)
    if inputs is None or coded is None:
        return None
    penalty = OF_WORDS if wordings(X)[0] else 1.0
    linear, trees = _probabilities(inputs, coded, codes, penalty, small=len(y) < 500)
    return OutOfFold(rows, codes, np.asarray(classes), linear, trees, inputs)


def seen(subject: Subject, X: Any, rows: Array) -> tuple[Array | None, Array | None]:
    """What a linear model and trees are given of the rows: their columns and contents; None for nothing numeric."""
    held = contents(subject, X, rows)
    if held is None:
        return indicators(X, rows), category_codes(X, rows)
    columns, coded = indicators(X, rows), category_codes(X, rows)
    return (
        held if columns is None else np.column_stack([columns, held]),
        held if coded is None else np.column_stack([coded, held]),
    )


def _without(X: Any, columns: list[str]) -> Any:
    return X.loc[:, [str(name) not in columns for name in X.columns]] if columns and isinstance(X, pd.DataFrame) else X


def _probabilities(inputs: Array, coded: Array, y: Array, penalty: float, *, small: bool) -> tuple[Array, Array]:
    from sklearn import config_context
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    line = make_pipeline(StandardScaler(), LogisticRegression(C=penalty, max_iter=100))
    forest = RandomForestClassifier(60, min_samples_leaf=3 if small else 5, random_state=0)
    with warnings.catch_warnings(), config_context(skip_parameter_validation=True):
        warnings.simplefilter("ignore")
        return (
            cross_val_predict(line, inputs, y, cv=FOLDS, method="predict_proba"),
            cross_val_predict(forest, coded, y, cv=FOLDS, method="predict_proba"),
        )


def answers_out_of_fold(model: Any, x: Array, wanted: Array, folds: int = FOLDS) -> Array:
    """What a model of numbers `(N, K)` answers to the rows of each fold, fitted on the others."""
    from sklearn.model_selection import KFold, cross_val_predict

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = cross_val_predict(model, x, wanted, cv=KFold(folds, shuffle=True, random_state=0))
    return np.asarray(found).reshape(wanted.shape)


def category_codes(X: Any, rows: Array) -> Array | None:
    """The given rows as numbers `(N, D)`, a category as the rank of its frequency; None for nothing numeric."""
    frame = _columns(X, rows)
    if frame is None:
        return _flat(X, rows)
    columns = [_number(frame[name]) if _is_number(frame[name]) else _ranks(frame[name]) for name in frame.columns]
    return np.column_stack(columns) if columns else None


def indicators(X: Any, rows: Array) -> Array | None:
    """The given rows as numbers `(N, D)`, one column for each of a column's 12 commonest categories."""
    frame = _columns(X, rows)
    if frame is None:
        return _flat(X, rows)
    columns: list[Array] = []
    for name in frame.columns:
        columns += [_number(frame[name])] if _is_number(frame[name]) else _indicators(frame[name])
    return np.column_stack(columns[:MOST_COLUMNS]) if columns else None


def _columns(X: Any, rows: Array) -> pd.DataFrame | None:
    if not isinstance(X, pd.DataFrame):
        return None
    frame = table(X)
    return pd.DataFrame(index=range(len(rows))) if frame is None else frame.iloc[rows].reset_index(drop=True)


def _flat(X: Any, rows: Array) -> Array | None:
    if not 0 < int(np.prod(np.shape(X)[1:])) <= MOST_COLUMNS:
        return None
    values = numbers(to_array(X)[rows]).reshape(len(rows), -1)
    return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0) if values.shape[1] else None


def _is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_complex_dtype(column)


def _number(column: pd.Series) -> Array:
    values = column.to_numpy(dtype=float, na_value=np.nan)
    known = values[np.isfinite(values)]
    return np.where(np.isfinite(values), values, np.median(known) if len(known) else 0.0)


def _ranks(column: pd.Series) -> Array:
    text = as_text(column)
    return text.map({value: rank for rank, value in enumerate(text.value_counts().index)}).to_numpy(dtype=float)


def _indicators(column: pd.Series) -> list[Array]:
    text = as_text(column)
    common = text.value_counts().index[:INDICATED]
    return [(text == value).to_numpy(dtype=float) for value in (common[:1] if len(common) == 2 else common)]
