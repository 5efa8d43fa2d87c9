"""What a fitted estimator that falls short is suspected of: its scores tell, since no steps were seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from firstfault.checks.training._performance_gap import Shortfall
from firstfault.subject.baselines import Baselines
from firstfault.subject.subject import Subject
from firstfault.target.estimators import settings_of
from firstfault.training.loop import Epoch
from firstfault.values import is_number

MEMORISED = 0.15  # of the way from a constant answer to a perfect one, from train to validation

PENALTIES: Mapping[str, Callable[[float], bool]] = {
    "C": lambda value: value <= 1,
    "alpha": lambda value: value >= 1,
    "reg_lambda": lambda value: value > 1,
    **dict.fromkeys(("reg_alpha", "l2_regularization", "ccp_alpha"), lambda value: value > 0),
    "min_samples_leaf": lambda value: value > 1,
}
"""By setting, whether its value holds a model back."""
ROUNDS = ("n_estimators", "max_iter", "iterations")


def memorised(last: Epoch, simple: Baselines, learnt: float) -> bool:
    """Whether a training ended far better on train than on validation, and better there than what counts as learnt."""
    return last.train_metric - last.validation_metric > MEMORISED * simple.span and last.train_metric > learnt


def suspects_of_estimator(subject: Subject, found: Shortfall) -> dict[str, float]:
    """Faults by weight: one that memorised has too much freedom, any other too little, or too few rounds of it."""
    last, simple = subject.trained.epochs[-1], found.simple
    if memorised(last, simple, simple.prior + 0.5 * simple.span if simple.constant else simple.best):
        return {"overfitting": 0.75}
    settings = _numbers(subject.trained.model.estimator)
    held_back = any(holds(settings[name]) for name, holds in PENALTIES.items() if name in settings)
    faults = {"over_regularised": 0.6} if held_back else {}
    return {
        **faults,
        **({"too_few_epochs": 0.6} if settings.keys() & set(ROUNDS) else {}),
        "insufficient_capacity": 0.5,
    }


def _numbers(estimator: Any) -> dict[str, float]:
    """The settings of an estimator and its parts that are numbers."""
    return {name.rpartition("__")[2]: value for name, value in settings_of(estimator).items() if is_number(value)}
