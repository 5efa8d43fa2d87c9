"""Confirming and refuting suspicions by swaps, on real small trainings."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from firstfault.ablation.confirm.confirm import confirm
from firstfault.ablation.swap import REGISTRY, SwapKind, swaps
from firstfault.errors import Missing
from firstfault.finding import Finding, Layer, Status


def outcome_of(outcomes, fault):
    return next(outcome for outcome in outcomes if outcome.fault == fault)


@pytest.fixture
def extra_swap():
    """A function that registers a swap for one test."""
    swaps()
    added = []

    def register(name, apply, undoes, **settings):
        REGISTRY[name] = SwapKind(name, f"change of {name}", frozenset(undoes), apply, **settings)
        added.append(name)

    yield register
    for name in added:
        del REGISTRY[name]


def test_a_low_learning_rate_is_confirmed(subject_of, suspect):
    """Undoing a learning rate that is far too low restores the metric over three seeds."""
    outcome = confirm(subject_of(lr=1e-5), suspect({"learning_rate_too_low": 0.7}))[0]
    assert outcome.confirmed is True
    swap = outcome.swap
    assert swap.seeds >= 3 and swap.after > swap.before + 0.3 and swap.p_value < 0.05


def test_a_healthy_target_is_acquitted(subject_of, suspect):
    """A suspicion against a healthy training is refuted, and nothing else is found instead."""
    outcomes = confirm(subject_of(), suspect({"learning_rate_too_low": 0.7, "too_few_epochs": 0.5}))
    assert [outcome.confirmed for outcome in outcomes] == [False, False]


def test_only_the_best_explanation_is_confirmed(subject_of, suspect):
    """More epochs help a learning rate that is too low as well, but less: they are not confirmed."""
    faults = {"learning_rate_too_low": 0.6, "too_few_epochs": 0.6}
    outcomes = confirm(subject_of(lr=1e-4, epochs=4), suspect(faults))
    assert outcome_of(outcomes, "learning_rate_too_low").confirmed is True
    assert outcome_of(outcomes, "too_few_epochs").confirmed is False


def test_of_equal_repairs_the_more_suspected_stands_and_names_the_other(subject_of, suspect):
    """Adam repairs a low rate too; the reason says so, but only the stronger suspicion is confirmed."""
    faults = {"learning_rate_too_low": 0.7, "wrong_optimizer": 0.4}
    outcomes = confirm(subject_of(optimizer=partial(torch.optim.SGD, lr=1e-3), epochs=12), suspect(faults))
    low = outcome_of(outcomes, "learning_rate_too_low")
    assert low.confirmed is True and "Adam" in low.reason
    assert outcome_of(outcomes, "wrong_optimizer").confirmed is False


def test_a_rate_that_is_far_too_low_for_its_optimizer_is_no_wrong_optimizer(subject_of, suspect):
    """Adam at a millionth works at its usual rate: the rate is to blame, not Adam."""
    faults = {"learning_rate_too_low": 0.55, "wrong_optimizer": 0.4}
    outcomes = confirm(subject_of(lr=1e-6, epochs=12), suspect(faults), budget_seconds=60.0)
    assert [outcome.fault for outcome in outcomes if outcome.confirmed] == ["learning_rate_too_low"]


def test_a_wrong_optimizer_is_told_from_its_rate(subject_of, suspect):
    """An optimizer that goes nowhere at any rate is to blame itself."""

    class Idle(torch.optim.SGD):
        def step(self, closure=None):
            return None

    faults = {"learning_rate_too_low": 0.6, "wrong_optimizer": 0.5}
    subject = subject_of(optimizer=partial(Idle, lr=0.05), epochs=10)
    outcomes = confirm(subject, suspect(faults), budget_seconds=60.0)
    assert [outcome.fault for outcome in outcomes if outcome.confirmed] == ["wrong_optimizer"]


def test_a_symptom_is_searched_for_its_cause(subject_of, suspect):
    """When only a symptom is reported, the swap that restores health names the fault."""
    outcomes = confirm(subject_of(lr=1e-5), suspect({"stalled": 0.6}))
    assert outcome_of(outcomes, "stalled").confirmed is None
    assert [outcome.fault for outcome in outcomes if outcome.confirmed] == ["learning_rate_too_low"]


def test_the_search_leaves_out_what_a_check_has_disproved(subject_of, suspect):
    """A passed structural check acquits its fault, so that the loop is not blamed for it."""
    import firstfault.checks.training.loop_faults  # noqa: F401  its checks are registered

    disproved = ("missing_zero_grad", "parameters_not_in_optimizer")
    passed = tuple(Finding(name, Layer.TRAINING, Status.PASS, "fine") for name in disproved)
    subject = subject_of(optimizer=partial(torch.optim.SGD, lr=1e-9))
    outcomes = confirm(subject, suspect({"stalled": 0.6}, extra=passed))
    found = {outcome.fault for outcome in outcomes if outcome.confirmed}
    assert found and not found & set(disproved)


def test_an_unchanged_target_that_ends_in_nan_counts_as_guessing(subject_of, suspect):
    """A loss that overflows scores like the most frequent class, and its repair is confirmed."""
    subject = subject_of(optimizer=partial(torch.optim.SGD, lr=1e12))
    outcome = confirm(subject, suspect({"learning_rate_too_high": 0.7, "wrong_optimizer": 0.6}))
    confirmed = [entry for entry in outcome if entry.confirmed]
    assert confirmed and all(0.2 < entry.swap.before < 0.6 and entry.swap.after > 0.85 for entry in confirmed)


def test_a_swap_that_crashes_is_no_repair(subject_of, suspect, extra_swap):
    """Beside a target below guessing, a changed training that crashes neither looks better nor acquits anything."""

    def crash():
        raise RuntimeError("boom")

    extra_swap("crashing", lambda subject: subject.recipe.with_training(augment=lambda x: crash()), ["label_noise"])
    subject = subject_of(loss=lambda outputs, y: -nn.functional.cross_entropy(outputs, y))
    outcome = confirm(subject, suspect({"label_noise": 0.7}, Layer.DATA))[0]
    assert outcome.confirmed is None and outcome.undecided and "crashed" in outcome.reason


def test_a_swap_that_cannot_be_applied_is_untested(subject_of, suspect, extra_swap, caplog):
    """A bug in a swap is logged, and the fault counts as not tested."""
    extra_swap("buggy", lambda subject: 1 / 0, ["label_noise"])
    outcome = confirm(subject_of(), suspect({"label_noise": 0.7}, Layer.DATA))[0]
    assert outcome.confirmed is None and "ZeroDivisionError" in outcome.reason and "buggy" in caplog.text


def test_a_swap_that_does_not_apply_says_why(subject_of, suspect, extra_swap):
    """The reason that the swap gives is passed on."""

    def apply(subject):
        raise Missing("there is no such part")

    extra_swap("absent", apply, ["label_noise"])
    outcome = confirm(subject_of(), suspect({"label_noise": 0.7}, Layer.DATA))[0]
    assert (outcome.confirmed, outcome.reason) == (None, "there is no such part")


def test_a_repair_of_the_data_judges_both_models_on_the_repaired_validation(subject_of, suspect, extra_swap):
    """With same_validation the unchanged model scores on the swapped split, where it is wrong."""
    from dataclasses import replace

    from firstfault.training.recipe import Tensors

    def unpermuted(subject):
        recipe = subject.recipe
        train, validation = (Tensors(part.x, (part.y + 1) % 3) for part in (recipe.train, recipe.validation))
        return replace(recipe, train=train, validation=validation)

    extra_swap("unpermuted", unpermuted, ["label_noise"], same_validation=True)
    outcome = confirm(subject_of(), suspect({"label_noise": 0.7}, Layer.DATA))[0]
    assert outcome.confirmed is True and outcome.swap.before < 0.1 and outcome.swap.after > 0.85


def test_another_metric_is_used_for_both_arms(subject_of, suspect):
    """Rare classes are judged by balanced accuracy, before and after."""
    random = np.random.default_rng(1)
    y = (random.random(1500) < 0.03).astype(int)
    X = random.normal(size=(1500, 8)).astype(np.float32)
    X[:, 0] += 1.5 * y
    subject = subject_of(data=(X, y), epochs=8, model=lambda: nn.Linear(8, 2))
    outcome = confirm(subject, suspect({"class_imbalance": 0.7}, Layer.DATA))[0]
    assert outcome.confirmed is True
    assert outcome.swap.metric == "balanced_accuracy" and outcome.swap.before < 0.65


def test_no_time_means_not_tested(subject_of, suspect):
    """A spent budget leaves the suspicion open, and says so."""
    outcome = confirm(subject_of(lr=1e-5), suspect({"learning_rate_too_low": 0.7}), budget_seconds=0.0)[0]
    assert outcome.confirmed is None and "budget" in outcome.reason


def test_code_that_raises_is_not_trained(subject_of, suspect):
    """There is nothing to train when the user's code raises."""
    trials = []
    outcome = confirm(subject_of(), suspect({"user_code_raises": 1.0}), on_trial=trials.append)[0]
    assert outcome.confirmed is None and not trials


def test_a_target_without_a_model_is_untested(subject_of, suspect):
    """Swaps need something to train."""
    outcome = confirm(subject_of(model=None), suspect({"missing_normalisation": 0.7}, Layer.PREPROCESSING))[0]
    assert outcome.confirmed is None and "declares no model" in outcome.reason


def test_no_failure_means_no_trial(subject_of, suspect):
    """A sound layer costs nothing."""
    trials = []
    assert confirm(subject_of(), suspect({}), on_trial=trials.append) == [] and not trials


def test_the_unchanged_target_is_trained_once_per_seed(subject_of, suspect):
    """Two confirmations on one subject share the trainings of the unchanged target."""
    subject, trials = subject_of(lr=1e-5), []
    for _ in range(2):
        confirm(subject, suspect({"learning_rate_too_low": 0.7}), on_trial=trials.append, budget_seconds=60.0)
    assert sorted(trial.seed for trial in trials if trial.factor == "baseline") == [0, 1, 2]


def test_trials_repeat_exactly(subject_of, suspect):
    """The same subject gives the same scores in every run."""
    runs = []
    for folder in ("one", "two"):
        trials = []
        confirm(
            subject_of(lr=1e-5, folder=folder),
            suspect({"learning_rate_too_low": 0.7}),
            on_trial=trials.append,
            budget_seconds=60.0,
        )
        runs.append([(trial.change, trial.seed, trial.score) for trial in trials])
    assert runs[0] == runs[1]


def test_chance_alone_confirms_nothing(subject_of, suspect):
    """A model that starts anew in every training, on labels that can't be learned: noise, but no fault to confirm."""
    random, starts = np.random.default_rng(3), itertools.count()
    data = (random.normal(size=(400, 8)).astype(np.float32), random.integers(0, 2, 400))

    def unseeded():
        torch.manual_seed(next(starts))
        return nn.Linear(8, 2)

    outcome = confirm(subject_of(data=data, model=unseeded, epochs=2), suspect({"too_few_epochs": 0.7}))[0]
    assert outcome.confirmed is None and outcome.undecided and "constant answer" in outcome.reason


def test_a_regression_that_explodes_is_confirmed(subject_of, suspect):
    """R² far below zero does not hide the repair behind its own spread."""
    random = np.random.default_rng(2)
    X = random.normal(size=(500, 8)).astype(np.float32)
    data = (X, (X @ random.normal(size=8)).astype(np.float32))
    subject = subject_of(
        data=data,
        task="regression",
        loss=nn.MSELoss(),
        model=lambda: nn.Linear(8, 1),
        optimizer=partial(torch.optim.SGD, lr=1.5),
        epochs=5,
    )
    outcome = confirm(subject, suspect({"learning_rate_too_high": 0.7}))[0]
    assert outcome.confirmed is True and outcome.swap.after > 0.9


def test_fewer_than_two_seeds_are_refused(subject_of, suspect):
    """One seed shows no noise."""
    with pytest.raises(ValueError, match="at least 2"):
        confirm(subject_of(), suspect({"learning_rate_too_low": 0.7}), seeds=1)


def test_trials_tell_their_settings(subject_of, suspect):
    """Each trial names what it ran with, the changed rate among it."""
    trials = []
    report = suspect({"learning_rate_too_low": 0.7})
    confirm(subject_of(lr=1e-5), report, on_trial=trials.append, budget_seconds=60.0)
    unchanged, changed = trials[0], next(trial for trial in trials if trial.change == "learning rate × 10")
    assert unchanged.params["optimizer"] == "Adam" and unchanged.params["epochs"] == 6
    assert unchanged.params["lr"] == pytest.approx(1e-5) and changed.params["lr"] == pytest.approx(1e-4)


def test_a_shortened_trial_does_not_blame_the_pace_of_a_healthy_target(subject_of, suspect):
    """On a fifth of the rows a higher rate helps a healthy target too: that confirms nothing."""
    subject = subject_of(lr=5e-3, epochs=20)
    outcome = confirm(subject, suspect({"learning_rate_too_low": 0.7}), budget_seconds=0.3)[0]
    assert outcome.confirmed is not True
