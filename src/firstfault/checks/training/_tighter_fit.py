"""What an estimator that may fit less makes of the same rows: the other side of one that knows its rows by heart."""

from __future__ import annotations

from dataclasses import dataclass

from firstfault.checks.training._performance_gap import BEHIND
from firstfault.subject.baselines import baselines, error_of
from firstfault.subject.subject import Subject
from firstfault.training.estimator_settings import TIGHTER, with_settings
from firstfault.training.loop import train


@dataclass(frozen=True)
class TighterFit:
    """Its score and loss on validation, and the score from which on it is better than the target's estimator."""

    score: float
    loss: float
    bound: float


def tighter_fit(subject: Subject, errors: float) -> TighterFit:
    """Fit the target's estimator again with settings that let it fit less.

    Raises:
        Missing: when it has no such settings.
    """
    trained, recipe = subject.trained, subject.recipe
    last = train(with_settings(recipe, subject.model.estimator, TIGHTER)).epochs[-1]
    margin = max(BEHIND * baselines(subject).span, errors * error_of(recipe, trained.score))
    return TighterFit(last.validation_metric, last.validation_loss, trained.score + margin)
