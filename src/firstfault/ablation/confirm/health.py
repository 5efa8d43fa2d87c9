"""Whether a target is sound: as good as a simple model on the same prepared data, within the noise."""

from __future__ import annotations

import functools
import math
import warnings

from firstfault.ablation.confirm.paired_trials import Tested, Tester
from firstfault.interrupts import pass_on
from firstfault.subject.subject import Subject

CLEAR = 3.0
"""Standard errors above a constant answer: chance alone gets there about once in 740 targets."""
SLACK = 0.1
"""Of what boosted trees gain over a constant answer, a sound network may lack a tenth: a choice of ours."""
MOST_ROWS, MOST_COLUMNS = 2_000, 256
"""Bound the time of 50 boosted trees, which are fitted in the middle of a confirmation."""


class Health:
    """The mark that a repaired target has to reach. None where no simple model beats a constant answer.

    The mark is a linear model's score (a table of successors for a language model). Where a linear model is no better
    than a constant answer by 3 standard errors, boosted trees are tried, and nine tenths of their way from the constant
    answer is the mark.
    """

    def __init__(self, subject: Subject, tester: Tester) -> None:
        self.subject, self.tester, self.rules = subject, tester, tester.rules

    @functools.cached_property
    def mark(self) -> float | None:
        """The score to reach, by the target's own metric on its own validation."""
        from firstfault.subject.baselines import baselines

        try:
            simple = baselines(self.subject)
        except BaseException as error:  # labels or inputs that a simple model can't take
            pass_on(error)
            return None
        if math.isfinite(simple.best) and simple.best > simple.prior + CLEAR * simple.error:
            return simple.best
        if self.rules.decides("trees_set_the_mark"):
            trees = _boosted(self.subject)
            if math.isfinite(trees) and trees > simple.prior + CLEAR * simple.error:
                return simple.prior + (1 - SLACK) * (trees - simple.prior)
        return simple.best if math.isfinite(simple.best) and simple.best > simple.prior else None

    def sound(self) -> bool:
        """Whether the unchanged target reaches the mark: then there is nothing to search for."""
        score = self.tester.bench.full_score()
        return score is not None and self.mark is not None and score >= self.mark

    def lost(self) -> bool:
        """Whether the unchanged target is nearer to a constant answer than to the mark, which is clearly above that."""
        from firstfault.subject.baselines import baselines
        from firstfault.training.chance import floor, prior_score

        if self.mark is None or self.mark <= (simple := baselines(self.subject)).prior + CLEAR * simple.error:
            return False
        recipe, bench = self.subject.recipe, self.tester.bench
        run = bench.baseline(bench.seeds[0], self.tester.budget.deadline)
        return floor(recipe, run.score) < (prior_score(recipe, recipe.validation) + self.mark) / 2

    def cannot_tell(self, entry: Tested) -> str:
        """Why a change without gain does not acquit its fault; empty where it does.

        It acquits where the target is sound. Else a training that learns next to nothing with and without it is held
        down by something else, or too short to show anything.
        """
        if entry.blind:
            return entry.blind
        if self.rules.decides("sound_acquits", self.sound):
            return ""
        if self.rules.decides("lost_acquits_nothing", self.lost):
            return "no change that was tried restores a training that learns next to nothing"
        return self._learns_nothing(entry)

    def _learns_nothing(self, entry: Tested) -> str:
        from firstfault.metrics import METRICS
        from firstfault.training.chance import prior_score

        recipe, result = self.subject.recipe, entry.result
        alike = (
            entry.metric == self.tester.bench.metric and not entry.kind.same_validation and not entry.kind.from_guessing
        )
        if not alike or entry.metric not in METRICS:
            return ""
        guessing = max(result.before, result.after) <= prior_score(recipe, recipe.validation) + result.noise
        if not self.rules.decides("guess_acquits_nothing", guessing):
            return ""
        return f"on {self.tester.bench.scale}, neither training does better than a constant answer"

    def restored(self, entry: Tested, *, unknown: bool) -> bool:
        """Whether a repair reaches the mark; `unknown` where there is none, or another measure judges the repair."""
        if (
            self.mark is None
            or entry.metric != self.tester.bench.metric
            or entry.kind.same_validation
            or entry.kind.from_guessing
        ):
            return unknown
        return entry.result.after >= self.mark - entry.result.noise


def _boosted(subject: Subject) -> float:
    """The validation score of boosted trees on at most 2,000 rows; −∞ where they don't take the data."""
    from firstfault.subject.baselines import score_of, training_rows

    rows = training_rows(subject, MOST_ROWS, MOST_COLUMNS)
    if rows is None or rows[1].ndim > 1:
        return -math.inf
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    model = (HistGradientBoostingClassifier if subject.recipe.classes else HistGradientBoostingRegressor)(
        max_iter=50, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return score_of(subject, model.fit(*rows))
