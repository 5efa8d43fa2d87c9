"""Too few samples: fast models that still learn a lot from every row that is added."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from firstfault.check import Depth, Judgement, check, passed, skipped
from firstfault.checks.data._out_of_fold import MOST_ROWS, indicators
from firstfault.data.splits import Split, to_array
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.baselines import MOST_COLUMNS
from firstfault.subject.subject import Subject

Array = np.ndarray[Any, Any]

FEWEST_ROWS = 16  # four to hold out, and three in the smallest part
PARTS = (0.25, 0.5, 1.0)  # two doublings: the last must gain as the one before did
REPEATS, REPEATS_OF_FEW, FEW = 4, 10, 300  # draws of the held-out rows: of few rows they differ more


class _Whole(NamedTuple):
    """Skill (0: a constant answer, 1: a perfect one) of the better model after all rows.

    `held` `(repeats,)` is that on the rows held out, `fitted` the mean on its own; `model` is its position.
    """

    held: Array
    fitted: float
    model: int

    @property
    def skill(self) -> float:
        """The mean on the rows held out."""
        return float(self.held.mean())


class _Curve(NamedTuple):
    """Held-out skill at each part of the rows, and the standard error of what the last part adds."""

    skills: tuple[float, ...]
    error: float

    @property
    def gain(self) -> float:
        """What the second half of the rows added."""
        return self.skills[-1] - self.skills[-2]


@check(layer=Layer.DATA, needs={"raw"}, detects={"insufficient_data": 0.8}, depth=Depth.STANDARD)
def insufficient_data(
    subject: Subject,
    *,
    per_class: int = 10,
    per_column: int = 5,
    gain: float = 0.05,
    gap: float = 0.2,
    enough: float = 0.75,
    plenty: int = 30_000,
) -> Iterator[Judgement]:
    """Find training sets that are too small: more rows would still help.

    Measures: the skill (0 for a constant answer, 1 for a perfect one) that the second half of the rows adds. Fast
        models learn from a quarter, half and all of three quarters of the rows (at most 3,000), and answer the others.
    Fails when: the skill added is above `gain` and twice its standard error, the skill on train is more than `gap`
        above the held-out one, which is below `enough`, and rows are few: fewer than `per_class` per class, or
        `per_column` per column.
    Warns when: all but the last holds.
    Not a fault when: there are `plenty` rows or more: nothing is fitted then.
    Source: learning curves, Viering & Loog 2023; 10 events per variable are a common floor (Peduzzi et al. 1996). The
        bounds are a choice of ours; tests/checks/data/test_sample_size.py holds data sets whole and in small parts.
    """
    train = _small(subject.raw.train)
    if train is None or subject.target.task not in ("classification", "regression"):
        yield skipped(f"only classes and numbers on at least {FEWEST_ROWS} table-like rows are looked at")
        return
    X, y = train
    count = len(subject.raw.train.y)
    if count >= plenty:
        yield passed(f"{count:,} rows are plenty for fast models, which need {MOST_ROWS:,} at most")
        return
    classes = subject.target.task == "classification"
    if (numbers := _numbered(X, y, classes)) is None:
        yield skipped("there are too few rows of each class to hold some out")
        return
    whole = _whole(*numbers, classes)
    if whole.skill >= enough or whole.fitted - whole.skill <= gap:  # which no curve changes
        yield passed(f"a fast model's skill is {whole.skill:.2f} on held-out rows, and {whole.fitted:.2f} on its own")
        return
    curve = _curve(*numbers, classes, whole)
    columns = X.shape[1] if np.ndim(subject.raw.train.X) <= 2 else 0
    few = (classes and count < per_class * len(np.unique(y))) or (count < per_column * columns and columns <= 300)
    short = curve.gain > max(gain, 2 * curve.error) and curve.skills[1] > curve.skills[0] - curve.error
    steps = ", ".join(f"{skill:.2f}" for skill in curve.skills)
    yield Judgement(
        Status.PASS if not short else Status.FAIL if few else Status.WARN,
        f"with a quarter, half and all of {len(y)} rows a fast model's skill is {steps} "
        f"({whole.fitted:.2f} on its own rows)",
        value=curve.gain,
        threshold=gain,
        where=Place.data("train") if short else None,
        fix="collect more rows, or use a simpler model and fewer columns" if short else None,
    )


def _small(train: Split) -> tuple[Array, Array] | None:
    y = to_array(train.y)
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if np.ndim(train.X) == 2 and not isinstance(train.X, pd.DataFrame) and to_array(train.X).dtype.kind in "iu":
        return None  # ids of tokens, of which a fast model makes little
    if y.ndim != 1 or len(y) < FEWEST_ROWS or int(np.prod(np.shape(train.X)[1:])) > MOST_COLUMNS:
        return None
    known = np.flatnonzero(~pd.isna(y))
    rows = np.random.default_rng(0).permutation(known)[:MOST_ROWS]
    X = indicators(train.X, rows) if len(rows) >= FEWEST_ROWS else None
    return (X, y[rows]) if X is not None and X.shape[1] else None


def _numbered(X: Array, y: Array, classes: bool) -> tuple[Array, Array] | None:
    """The rows, and their classes as numbers or the ranks of their numbers; None for too few of each class."""
    if not classes:
        return X, pd.to_numeric(pd.Series(y), errors="coerce").fillna(0.0).rank(pct=True).to_numpy()
    target = pd.factorize(pd.Series(y))[0]
    common = np.bincount(target)[target] >= 2
    X, target = X[common], pd.factorize(target[common])[0]
    return (X, target) if len(target) >= FEWEST_ROWS and target.max() >= 1 else None


def _whole(X: Array, target: Array, classes: bool) -> _Whole:
    rows = np.array([_skills(X, target, 1.0, seed, classes) for seed in range(_repeats(target))])
    best = int(rows[..., 0].mean(0).argmax())
    return _Whole(rows[:, best, 0], float(rows[:, best, 1].mean()), best)


def _curve(X: Array, target: Array, classes: bool, whole: _Whole) -> _Curve:
    repeats = _repeats(target)
    held = np.array(
        [[_skills(X, target, part, seed, classes)[whole.model][0] for seed in range(repeats)] for part in PARTS[:-1]]
    )
    difference = whole.held - held[-1]
    return _Curve((*map(float, held.mean(1)), whole.skill), float(difference.std(ddof=1) / np.sqrt(repeats)))


def _repeats(target: Array) -> int:
    return REPEATS_OF_FEW if len(target) <= FEW else REPEATS


def _skills(X: Array, target: Array, part: float, seed: int, classes: bool) -> list[tuple[float, float]]:
    """Held-out and own skill of a linear model and a forest on a part of three quarters of the rows."""
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    strata = target if classes else None
    kept, held = train_test_split(
        np.arange(len(target)),
        test_size=max(0.25, len(np.unique(target)) / len(target) if classes else 0.0),
        random_state=seed,
        stratify=strata,
    )
    kept = kept[: max(2, round(part * len(kept)))]
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=50) if classes else Ridge(1.0))
    trees = (ExtraTreesClassifier if classes else ExtraTreesRegressor)(30, random_state=seed)
    if len(np.unique(target[kept])) < 2:
        return [(0.0, 1.0), (0.0, 1.0)]
    skills = []
    for model in (linear, trees):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(X[kept], target[kept])
            skills.append(
                (
                    _skill(model.predict(X[held]), target[held], classes),
                    _skill(model.predict(X[kept]), target[kept], classes),
                )
            )
    return skills


def _skill(predicted: Array, target: Array, classes: bool) -> float:
    if classes:
        prior = np.bincount(target).max() / len(target)
        return float(((predicted == target).mean() - prior) / max(1 - prior, 1e-9))
    return float(1 - ((target - predicted) ** 2).sum() / max(((target - target.mean()) ** 2).sum(), 1e-12))
