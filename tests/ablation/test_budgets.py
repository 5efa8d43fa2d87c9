"""Budgets count work: how long the clock says that it took changes no outcome."""

from __future__ import annotations

import threading

from torch import nn

from firstfault.ablation.confirm.budget import Budget, training_seconds
from firstfault.ablation.confirm.confirm import confirm
from firstfault.ablation.confirm.trials import Bench
from firstfault.clock import Deadline
from firstfault.training.loop import train

NEVER = threading.Event()


def held_up() -> nn.Module:
    """A network that waits at every training step, as on a machine that is busy with something else."""
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))

    def wait(module: nn.Module, _: object) -> None:
        if module.training:
            NEVER.wait(0.03)

    model.register_forward_pre_hook(wait)
    return model


def test_a_training_that_is_held_up_is_not_cut(subject_of):
    """It waits for more than its deadline of 2 s, and works for less: it is run to its end."""
    trained = train(subject_of(model=held_up).recipe, deadline=Deadline(2.0))
    assert trained.seconds > 2.0 > trained.cpu and trained.share == 1.0 and trained.crash is None


def test_a_budget_is_made_for_the_work_of_a_training(subject_of):
    """A target that is held up gets the budget, and the scale, of one that isn't."""
    subject = subject_of(model=held_up)
    assert training_seconds(subject, Bench(subject, 3)) < 0.7 * subject.trained.seconds


def test_a_training_that_only_sleeps_is_not_tested(subject_of, suspect):
    """Ten times the budget by the clock ends it, and no fault is confirmed or refuted."""
    subject = subject_of(lr=1e-6, model=held_up)
    outcome = confirm(subject, suspect({"learning_rate_too_low": 0.7}), budget_seconds=0.02)[0]
    assert outcome.confirmed is None and "budget" in outcome.reason


def test_a_budget_that_was_slept_through_says_so():
    """The reason tells that CPU time was left, and that the clock ended the wait."""
    budget = Budget(0.02)
    while budget.left > 0:
        NEVER.wait(0.01)
    assert "waiting" in str(budget) and budget.spent >= 1
