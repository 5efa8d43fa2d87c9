"""Targets that take too long, come out differently each time, or are broken beyond every swap."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from torch import nn

from firstfault.ablation.confirm.confirm import confirm
from firstfault.ablation.confirm.trials import Run
from firstfault.finding import Finding, Layer, Status
from firstfault.training.loop import train


def test_a_training_ends_inside_an_epoch_at_the_deadline(subject_of):
    """A target with epochs of an hour doesn't take an hour: one batch is trained on, and its share is known."""
    recipe = subject_of(epochs=10).recipe
    batches = -(-len(recipe.train) // 32)
    trained = train(recipe, deadline=time.monotonic() - 1)
    assert trained.share == pytest.approx(1 / (10 * batches)) and len(trained.epochs) == 1
    assert Run.of(trained).cut and not Run.of(trained).crashed


def test_a_fit_ends_at_the_deadline_even_where_it_catches_exceptions(subject_of):
    """The user's loop is left at its next batch."""
    seen = []

    def fit(model, batches, held_out):
        for _ in range(1000):
            try:
                for x, _ in batches:
                    seen.append(len(x))
            except Exception:
                continue

    trained = train(subject_of(fit=fit).recipe, deadline=time.monotonic() - 1)
    assert len(seen) == 1 and trained.share < 1 and trained.crash is None


def test_a_training_with_time_enough_is_whole(subject_of):
    """No deadline, and one far away, cut nothing."""
    recipe = subject_of(epochs=2).recipe
    assert [train(recipe, deadline=limit).share for limit in (None, time.monotonic() + 1e6)] == [1.0, 1.0]


def test_a_target_that_comes_out_differently_each_time_is_judged_by_its_spread(subject_of, suspect):
    """An unseeded start widens the noise; a rate that is far too low is confirmed all the same."""

    def unseeded():
        torch.seed()
        return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))

    outcome = confirm(
        subject_of(lr=1e-6, model=unseeded), suspect({"learning_rate_too_low": 0.7}), budget_seconds=60.0
    )[0]
    assert outcome.confirmed is True and outcome.swap.p_value < 0.1


def test_a_fault_that_no_swap_undoes_stays_unconfirmed(subject_of, suspect):
    """Parity of ten signs can't be learned from 300 rows: nothing is blamed, and no longer training acquits."""
    X = np.random.default_rng(4).normal(size=(300, 10)).astype(np.float32)
    data = (X, ((X > 0).sum(1) % 2).astype(int))
    subject = subject_of(data=data, model=lambda: nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 2)))
    subject.get("trained")
    outcomes = confirm(subject, suspect({"learning_rate_too_low": 0.6, "too_few_epochs": 0.5}), budget_seconds=90.0)
    assert {outcome.confirmed for outcome in outcomes} == {None} and all(outcome.undecided for outcome in outcomes)


def test_where_nothing_restores_health_clean_labels_say_where_to_look(subject_of, suspect):
    """A loop that trains nothing, which a replay can't vary: the same training doesn't learn clean labels either."""
    import firstfault.checks.training.loop_faults  # noqa: F401  its checks are registered

    sound = ("missing_zero_grad", "missing_eval_mode", "parameters_not_in_optimizer", "flipped_loss_sign")
    passed = tuple(Finding(name, Layer.TRAINING, Status.PASS, "fine") for name in sound)
    subject = subject_of(fit=lambda model, batches, held_out: None)
    subject.get("trained")
    outcome = confirm(subject, suspect({"learning_rate_too_low": 0.6}, extra=passed), budget_seconds=60.0)[0]
    assert outcome.confirmed is None
    assert "not seen to its end" in outcome.reason and "model and training are to be looked at" in outcome.reason


def test_inputs_of_nothing_but_nan_leave_an_outcome(subject_of, suspect):
    """No simple model takes them, so that the swap alone decides."""
    X, y = np.random.default_rng(0).normal(size=(300, 8)), np.arange(300) % 3
    X[:, 0] = np.nan
    outcomes = confirm(
        subject_of(data=(X, y)), suspect({"nonfinite_output": 0.95}, Layer.PREPROCESSING), budget_seconds=20.0
    )
    assert [outcome.fault for outcome in outcomes] == ["nonfinite_output"]
