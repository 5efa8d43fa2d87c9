"""Do the inputs say anything of the labels? Out-of-fold predictions that do not even rank the rows say no."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from firstfault.check import Judgement, check, passed, skipped
from firstfault.checks.data._contents import most_rows
from firstfault.checks.data._held_out import Answers, answers_to, held_out
from firstfault.checks.data._out_of_fold import FEWEST_ROWS, MOST_ROWS, answers_out_of_fold, out_of_fold, sampled, seen
from firstfault.data.splits import to_array
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.memo import memo
from firstfault.subject.subject import Subject

Array = np.ndarray[Any, Any]

MOST_LABELS = 20  # columns of labels: bounds the time
FEWEST_HELD = 30  # validation rows: an order of fewer errs by more than 0.2
BY_HEART = 0.5  # of a perfect order
UNASKED = 0.4
"""The weight of what fast models alone say, where there is no network.

It does not stand, and leaves the verdict undecided.
"""
FIX = "check how labels were joined to inputs"


class Ranking(NamedTuple):
    """How far predictions order rows as the labels do (0: chance, 1: perfect), its error, and how many were tried."""

    value: float
    error: float
    tried: int

    def is_chance(self, doubt: float) -> bool:
        """Whether chance orders rows as well, at a p-value of `doubt` shared by all that were tried."""
        from scipy.stats import norm

        return self.value <= norm.isf(doubt / self.tried) * self.error

    @property
    def most(self) -> float:
        """The most that the order may be in truth, at two standard errors."""
        return max(self.value, 0.0) + 2 * self.error


@check(layer=Layer.DATA, needs={"raw"}, detects={"random_labels": 0.9})
def random_labels(subject: Subject, *, weak: float = 0.3, doubt: float = 0.005) -> Iterator[Judgement]:
    """Find labels that have nothing to do with their inputs.

    Measures: how far two fast models, on at most 3,000 training rows that they were not fitted on, order the rows as
        the labels do: 0 for chance, 1 for perfect. It is 2 · AUC − 1 of a class or label against the rest, or the rank
        correlation with numbers; of several, the one furthest from chance. It sees what accuracy does not where one
        class drowns the others.
    Fails when: this order is that of chance, with a p-value above `doubt` shared by all that were tried; it can't be
        stronger than `weak` (at two standard errors); and the trained network orders validation rows no better than
        chance. It is proof where the network knows by heart the rows that it has learnt from; else a swap (clean labels
        on the same inputs) has to confirm that it could have learnt. Without a network to ask, it is a weak suspicion.
    Not a fault when: rows are too few to exclude an order of `weak`.
    Source: TheDeepChecker, shuffled labels; standard errors after Mann & Whitney 1947 and of Spearman's rank
        correlation; benchmarks/localise.py, fault random_labels.
    """
    found = ranking_of_fast_models(subject)
    if found is None:
        yield skipped(f"only labels of table-like inputs of at least {FEWEST_ROWS} rows are looked at")
        return
    if not found.is_chance(doubt):
        yield passed(
            f"fast models order rows that they were not fitted on by their labels (by {found.value:.2f} of 1)",
            value=found.value,
        )
        return
    if found.most > weak:
        yield skipped(f"fast models find no order in the labels, but the rows are too few to exclude one of {weak:g}")
        return
    network = _ranking_of_network(subject)
    if network is None:
        yield Judgement(
            Status.FAIL,
            f"fast models (by {max(found.value, 0):.2f} of 1) do not order rows by their labels better than chance, "
            "and there is no trained network to ask",
            value=found.value,
            threshold=weak,
            where=Place.labels("train"),
            faults={"random_labels": UNASKED},
            fix=FIX,
        )
        return
    if not network.is_chance(doubt):
        yield passed(
            f"fast models find no order in the labels, but the network does (by {network.value:.2f} of 1)",
            value=network.value,
        )
        return
    by_heart = _knows_by_heart(subject)
    yield Judgement(
        Status.FAIL,
        f"neither fast models (by {max(found.value, 0):.2f} of 1) nor the network (by {max(network.value, 0):.2f}) "
        "order rows by their labels better than chance"
        + (", though it knows by heart those that it has learnt from" if by_heart else ""),
        value=found.value,
        threshold=weak,
        where=Place.labels("train"),
        faults={"random_labels": 0.9 if by_heart else 0.55},
        fix=FIX,
    )


@memo(of="raw")
def ranking_of_fast_models(subject: Subject) -> Ranking | None:
    """How a linear model and trees order training rows that they were not fitted on; None for nothing to rank."""
    return _fast(subject)


def _fast(subject: Subject) -> Ranking | None:
    if subject.target.task == "classification":
        found = out_of_fold(subject)
        return None if found is None else best([*by_class(found.linear, found.y), *by_class(found.trees, found.y)])
    if subject.target.task not in ("regression", "multilabel"):
        return None
    y = _columns(subject.raw.train.y)
    if y is None or len(y) < FEWEST_ROWS:
        return None
    rows = sampled(len(y), most_rows(subject.raw.train.X, MOST_ROWS))
    y = y[rows]
    if not np.isfinite(y).all():
        return None
    inputs, coded = seen(subject, subject.raw.train.X, rows)
    if inputs is None or coded is None or not inputs.shape[1]:
        return None
    return best([ranking for answers in _answers(inputs, coded, y) for ranking in by_column(answers, y)])


def _columns(y: Any) -> Array | None:
    """Numeric labels as `(N, K)` of at most 20 columns that vary."""
    y = to_array(y)
    if y.dtype.kind not in "fiub" or y.ndim > 2 or not y.size:
        return None
    y = y.reshape(len(y), -1).astype(float)[:, :MOST_LABELS]
    y = y[:, y.std(0) > 0] if np.isfinite(y).all() else y
    return y if y.shape[1] else None


def _answers(inputs: Array, coded: Array, y: Array) -> list[Array]:
    """Out-of-fold answers `(N, K)` of both models to ranks, which no far value rules."""
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    ranks = pd.DataFrame(y).rank(pct=True).to_numpy()
    models = (
        make_pipeline(StandardScaler(), Ridge(10.0)),
        RandomForestRegressor(40, min_samples_leaf=5, max_features=0.5, random_state=0),
    )
    return [answers_out_of_fold(model, given, ranks) for model, given in zip(models, (inputs, coded), strict=True)]


def _ranking_of_network(subject: Subject) -> Ranking | None:
    held = held_out(subject)
    return None if held is None or len(held.y) < FEWEST_HELD else _by_outputs(subject, held)


def _knows_by_heart(subject: Subject) -> bool:
    """Whether the network orders the rows that it has learnt from by their labels."""
    learnt = answers_to(subject, subject.recipe.train.rows(slice(MOST_ROWS)))
    found = None if learnt is None else _by_outputs(subject, learnt)
    return found is not None and found.value > BY_HEART


def _by_outputs(subject: Subject, answers: Answers) -> Ranking | None:
    outputs, y = np.nan_to_num(answers.outputs)[:MOST_ROWS], answers.y[:MOST_ROWS]
    if subject.target.task != "classification":
        return best(by_column(outputs, y)) if outputs.shape == y.shape else None
    if y.shape[1] != 1:
        return None
    outputs = np.column_stack([-outputs, outputs]) if outputs.shape[1] == 1 else outputs - outputs.max(1, keepdims=True)
    shares = np.exp(outputs) / np.exp(outputs).sum(1, keepdims=True) if outputs.shape[1] > 2 else outputs
    return best(by_class(shares, y[:, 0].astype(int)))


def best(rankings: list[Ranking]) -> Ranking | None:
    """The ranking that is furthest from chance, as one of all that were tried."""
    if not rankings:
        return None
    return max(rankings, key=lambda ranking: ranking.value / ranking.error)._replace(tried=len(rankings))


def by_class(answers: Array, y: Array) -> list[Ranking]:
    """Of each class against the rest how well its column of `answers` `(N, K)` ranks the rows."""
    classes = range(answers.shape[1]) if answers.shape[1] > 2 else [1]
    return [ranking for label in classes if (ranking := _two_sided(answers[:, label], y == label)) is not None]


def by_column(answers: Array, y: Array) -> list[Ranking]:
    """Of each column of labels `(N, K)` how well its answers rank the rows."""
    pairs = ((answers[:, place], y[:, place]) for place in range(min(y.shape[1], MOST_LABELS)))
    found = [
        _two_sided(own, label > label.min()) if len(np.unique(label)) == 2 else _correlated(own, label)
        for own, label in pairs
    ]
    return [ranking for ranking in found if ranking is not None]


def _two_sided(answers: Array, positive: Array) -> Ranking | None:
    """2 · AUC − 1, and its standard error where answers are chance."""
    ones, zeros = int(positive.sum()), int((~positive).sum())
    if not ones or not zeros:
        return None
    ranks = pd.Series(answers).rank().to_numpy()
    area = (ranks[positive].sum() - ones * (ones + 1) / 2) / (ones * zeros)
    return Ranking(float(2 * area - 1), 2 * float(np.sqrt((ones + zeros + 1) / (12 * ones * zeros))), 1)


def _correlated(answers: Array, y: Array) -> Ranking | None:
    """Spearman's rank correlation, and its standard error where answers are chance."""
    first, second = (pd.Series(values).rank().to_numpy() for values in (answers, y))
    if len(y) < 3 or not second.std():
        return None
    value = float(np.corrcoef(first, second)[0, 1]) if first.std() else 0.0
    return Ranking(value, 1 / float(np.sqrt(len(y) - 1)), 1)
