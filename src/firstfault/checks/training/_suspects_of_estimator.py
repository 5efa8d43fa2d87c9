"""What a fitted estimator that falls short is suspected of: its scores tell, since no steps were seen."""

from __future__ import annotations

from firstfault.checks.training._performance_gap import Shortfall
from firstfault.subject.baselines import Baselines
from firstfault.subject.subject import Subject
from firstfault.training.loop import Epoch

MEMORISED = 0.15  # of the way from a constant answer to a perfect one, from train to validation

PENALTIES = {"C", "alpha", "reg_alpha", "reg_lambda", "l2_regularization", "ccp_alpha", "min_samples_leaf"}
ROUNDS = {"n_estimators", "max_iter", "iterations"}


def memorised(last: Epoch, simple: Baselines, learnt: float) -> bool:
    """Whether a training ended far better on train than on validation, and better there than what counts as learnt."""
    return last.train_metric - last.validation_metric > MEMORISED * simple.span and last.train_metric > learnt


def suspects_of_estimator(subject: Subject, found: Shortfall) -> dict[str, float]:
    """Faults by weight: one that memorised has too much freedom, any other too little, or too few rounds of it."""
    last, simple = subject.trained.epochs[-1], found.simple
    if memorised(last, simple, simple.prior + 0.5 * simple.span if simple.constant else simple.best):
        return {"overfitting": 0.75}
    settings = {name.rpartition("__")[2] for name in getattr(subject.trained.model.estimator, "get_params", dict)()}
    held_back = {"over_regularised": 0.6} if settings & PENALTIES else {}
    return {**held_back, **({"too_few_epochs": 0.6} if settings & ROUNDS else {}), "insufficient_capacity": 0.5}
