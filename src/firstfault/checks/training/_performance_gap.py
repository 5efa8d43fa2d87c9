"""How far a trained model is behind a simple one: what lets a symptom of its training count as a fault."""

from __future__ import annotations

import math
from dataclasses import dataclass

from firstfault.checks.training._record_summary import learns
from firstfault.errors import Missing, UserCodeError
from firstfault.probe.record import Record
from firstfault.subject.baselines import Baselines, baselines, error_of
from firstfault.subject.memo import memo
from firstfault.subject.subject import Subject

# Gaps are shares of the way from a constant answer to a perfect one. Of benchmarks/localise.py, 40 sound programs end
# up to 0.04 behind a linear model, and 20 with too low a rate 0.09 and more.
BEHIND = 0.05
BEHIND_IN_FIT = 0.15  # a loop that no swap can vary has no second opinion, so that the gap itself has to convince
ERRORS = 3.0  # standard errors, which chance alone exceeds in 0.3 % of cases
GUESSING = 0.1  # of the way from a constant answer to a simple model: whoever makes less has learnt nothing to speak of


@dataclass(frozen=True)
class Shortfall:
    """The score of a trained model beside the score that it has to reach."""

    score: float
    bound: float
    simple: Baselines
    text: str

    @property
    def short(self) -> bool:
        """Whether the score is below the bound, or none at all."""
        return not self.score >= self.bound

    @property
    def guesses(self) -> bool:
        """Whether the model is no better than a constant answer, where a simple model is."""
        best = self.simple.best
        return (
            not self.simple.constant
            and best > self.simple.prior
            and not self.score >= self.simple.prior + GUESSING * (best - self.simple.prior)
        )


def shortfall(
    subject: Subject, *, behind: float = BEHIND, behind_in_fit: float = BEHIND_IN_FIT, errors: float = ERRORS
) -> Shortfall | None:
    """The score of the trained model against a simple one's; None where the training did not run to a comparable end.

    Raises:
        Missing, UserCodeError: where there is nothing to compare.
    """
    trained = subject.trained
    if trained.crash is not None or (subject.target.by_gradients and not _stepped_to_its_end(trained.record)):
        return None
    simple = baselines(subject)
    if math.isnan(simple.prior):
        return None
    fit = subject.training.fit is not None
    margin = max(
        (behind_in_fit if fit and not simple.constant else behind) * simple.span, errors * _error(subject, simple)
    )
    helpless = simple.constant or (
        not fit and simple.best <= simple.prior + margin <= _halfway(trained.metric, simple.prior)
    )
    bound = max(simple.best, simple.prior + margin) if helpless else simple.best - margin
    text = f"{trained.metric} on validation is {trained.score:.3f}, that of {simple.name} {simple.best:.3f}"
    return Shortfall(trained.score if math.isfinite(trained.score) else math.nan, bound, simple, text)


def _stepped_to_its_end(record: Record) -> bool:
    return record is not None and record.steps >= 1 and record.first_nonfinite is None


def _error(subject: Subject, simple: Baselines) -> float:
    """The standard error of the difference of both scores.

    On the same rows, many of which are as easy for both, it is about the larger of theirs. A score below guessing is no
    less certain than guessing.
    """
    trained = subject.trained
    score = max(trained.score, simple.prior) if math.isfinite(trained.score) else simple.prior
    return max(simple.error, error_of(subject.recipe, score))


def _halfway(metric: str, prior: float) -> float:
    """Half of the way from a constant answer to a perfect one."""
    return prior + 0.5 * ((0.0 if metric in ("mse", "mae") else 1.0) - prior)


def behind(subject: Subject) -> bool:
    """Whether the training was seen to end worse than a simple model; False where nothing can be compared."""
    found = _known(subject)
    return found is not None and found.short


def harmed(subject: Subject) -> bool:
    """Whether a training was seen to end in NaN, to learn nothing, or to end worse than a simple model."""
    record = subject.record
    return record.first_nonfinite is not None or not learns(record) or behind(subject)


def guesses(subject: Subject) -> bool:
    """Whether the training was seen to end no better than a constant answer, where a simple model is better.

    False where nothing can be compared.
    """
    found = _known(subject)
    return found is not None and found.guesses


@memo(of="trained")
def _known(subject: Subject) -> Shortfall | None:
    try:
        return shortfall(subject)
    except (Missing, UserCodeError):
        return None
