"""The champion beside a model that is refitted on the incident's own labelled requests, each scored on what it hadn't.

The refitted one is the champion with another last layer: a regularised linear model on what that layer is given and
the champion's scores, cross-fitted over parts of the window. It is right where the champion is not only if the same
inputs have other labels.

Source: Kirichenko et al. 2023, Last Layer Re-Training is Sufficient for Robustness to Spurious Correlations.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np

from firstfault.errors import Missing
from firstfault.metrics import Array
from firstfault.subject.harm import rightness
from firstfault.subject.memo import memo
from firstfault.subject.replays import Replays, Side, known_in_both, replays
from firstfault.subject.subject import Subject

FEWEST = 60
"""Labelled samples: their share of right answers errs by 0.06 at most."""
SQUARED = "squared error of the probabilities"
PARTS = 5
"""A refitted model learns from four fifths, as the labels are few."""
MOST_COLUMNS = 200
"""More than the few labels can weigh: of wider inputs a refit has the champion's scores alone."""


class Window:
    """The labelled requests of an incident and of its control: how right the champion is, and a refitted model."""

    def __init__(self, both: Replays) -> None:
        self.both, self.truth = both, both.truth
        self.side, self.control = both.incident, both.control
        self.rows = _labelled(self.side)
        self.before_rows = _labelled(self.control)
        if len(self.rows) < FEWEST:
            raise Missing(f"{len(self.rows)} of the incident's samples have labels, and {FEWEST} are needed")

    @property
    def regression(self) -> bool:
        """Whether labels are numbers."""
        return self.truth.task == "regression"

    def _rightness(self, side: Side, rows: Array) -> Array:
        return rightness(self.truth, side.replayed[rows], side.true[rows])

    @functools.cached_property
    def now(self) -> Array:
        """How right the champion is on the incident's labelled samples."""
        return self._rightness(self.side, self.rows)

    @functools.cached_property
    def before(self) -> Array:
        """The same on the control's."""
        return self._rightness(self.control, self.before_rows)

    @functools.cached_property
    def _refitted_scores(self) -> Array:
        """The scores of the refitted model on the incident's labelled samples, each by one that had not seen it."""
        features, true = self._features(), self.side.true[self.rows]
        found = np.zeros_like(true)
        part = np.arange(len(self.rows)) % PARTS
        for held in range(PARTS):
            fit, out = part != held, part == held
            found[out] = refit(features[fit], true[fit], features[out], regression=self.regression)
        return found

    @property
    def measures(self) -> Iterator[tuple[str, Array, Array]]:
        """How well champion and refitted model do, sample by sample, by one measure after the other.

        Where the same inputs have now this label, now that one, no model is right more often than a champion that is
        sure of the wrong ones; one that knows of it is less sure.
        """
        scores, true = self.side.replayed[self.rows], self.side.true[self.rows]
        refitted = self._refitted_scores
        name = "error" if self.regression else "right answers"
        yield name, self.now, rightness(self.truth, refitted, true)
        if not self.regression:
            yield SQUARED, -((scores - true) ** 2).sum(1), -((refitted - true) ** 2).sum(1)

    def _features(self) -> Array:
        """The champion's scores, and what its last layer is given; of a model without one, the prepared inputs."""
        scores = self.side.replayed[self.rows]
        odds = scores if self.regression else np.log(np.clip(scores, 1e-6, 1.0))
        try:
            prepared = self.side.prepared[self.rows]
        except Missing:
            return np.asarray(odds)
        x = self.truth.before_last_layer(prepared)
        if x is None and self.truth.recipe.train.x.is_floating_point():
            x = prepared.reshape(len(self.rows), -1)
        if x is None or x.shape[1] > MOST_COLUMNS:
            return np.asarray(odds)
        return np.hstack([odds, np.nan_to_num(x)])

    @functools.cached_property
    def shares(self) -> tuple[Array, Array]:
        """The shares of the true classes, in the control and now."""
        return self.control.true[self.before_rows].mean(0), self.side.true[self.rows].mean(0)

    @property
    def labels_moved(self) -> float:
        """The p-value of the classes' shares being the control's."""
        from scipy.stats import chi2_contingency

        counts = np.stack([self.control.true[self.before_rows].sum(0), self.side.true[self.rows].sum(0)])
        counts = counts[:, counts.sum(0) > 0]
        return float(chi2_contingency(counts).pvalue) if counts.shape[1] > 1 and counts.sum(1).all() else 1.0

    @property
    def same_within_classes(self) -> bool:
        """Whether samples of one class are answered as they were: it is the mix of classes that changed."""
        from firstfault.subject.harm import lower

        for place in range(self.side.true.shape[1]):
            before = self.before[self.control.true[self.before_rows].argmax(1) == place]
            now = self.now[self.side.true[self.rows].argmax(1) == place]
            if min(len(before), len(now)) >= 10 and lower(before, now) < 0.01:
                return False
        return True

    @property
    def falls(self) -> bool:
        """Whether the champion gets worse from the beginning of the incident to its end."""
        from scipy.stats import spearmanr

        from firstfault.subject.harm import lower

        times = np.array([self.side.samples[place][0].time for place in self.rows])
        order = np.argsort(times, kind="stable")
        right, third = self.now[order], max(10, len(order) // 3)
        trend = spearmanr(np.arange(len(right)), right)
        return bool(trend.statistic < 0 and trend.pvalue < 0.01 and lower(right[:third], right[-third:]) < 0.01)

    @property
    def one_answer(self) -> float:
        """The largest difference of the share of labelled samples between answers, now less that of the control."""
        return _by_answer(self.side) - _by_answer(self.control)


def refit(x: Array, true: Array, asked: Array, *, regression: bool) -> Array:
    """The scores `(N, K)` that a linear model of some features gives to others, learned from scores `(M, K)`."""
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if regression:
        found = make_pipeline(StandardScaler(), Ridge(1.0)).fit(x, true).predict(asked)
        return np.asarray(found).reshape(len(asked), true.shape[1])  # of one number, Ridge drops the axis
    labels, found = true.argmax(1), np.zeros((len(asked), true.shape[1]))
    seen = np.unique(labels)
    if len(seen) < 2:
        found[:, seen] = 1.0
        return found
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=300)).fit(x, labels)
    found[:, seen] = model.predict_proba(asked)
    return found


def _labelled(side: Side) -> Array:
    true, replayed = side.true, side.replayed
    if true.shape != replayed.shape:
        return np.zeros(0, dtype=int)
    return np.flatnonzero(known_in_both(true, replayed))


def _by_answer(side: Side) -> float:
    """How much more of the samples with one answer have a label than of those with another."""
    said, labelled = side.served, np.asarray(np.isfinite(side.true).all(1))
    known = np.asarray(np.isfinite(said).all(1))
    answers = np.nan_to_num(said).argmax(1)
    groups = [known & (answers == place) for place in range(said.shape[1])]
    shares = [labelled[group].mean() for group in groups if group.sum() >= 20]
    return float(max(shares) - min(shares)) if len(shares) > 1 else 0.0


@memo(of="trained")
def window_of(subject: Subject) -> Window:
    """The labelled window of the incident.

    Raises:
        Missing: when there are too few labels, or no offline model.
    """
    return Window(replays(subject))
