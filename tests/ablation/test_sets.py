"""Several faults at once: the smallest set of swaps that restores health."""

from __future__ import annotations

import numpy as np

from firstfault.ablation.confirm.confirm import confirm
from firstfault.ablation.swap import swaps, together
from firstfault.finding import Layer
from firstfault.standing import standing_faults
from firstfault.verdict import Outcome, Swap


def wrong_loss(outputs, y):
    """Every logit is drawn to the class id."""
    return ((outputs - y[:, None].float()) ** 2).mean()


def unscaled():
    """Clusters whose columns are up to 10,000 times apart."""
    random = np.random.default_rng(0)
    y = random.integers(0, 3, 600)
    X = random.normal(size=(3, 8))[y] * 1.5 + random.normal(size=(600, 8))
    return (X * np.logspace(0, 4, 8)).astype(np.float32), y


def test_two_faults_of_which_neither_repair_alone_restores_health(subject_of, suspect):
    """Both are confirmed by one set of swaps, whose reason says what each does alone."""
    subject = subject_of(data=unscaled(), loss=wrong_loss, lr=3e-3)
    outcomes = confirm(subject, suspect({"missing_normalisation": 0.6, "wrong_loss": 0.7}), budget_seconds=90.0)
    confirmed = {outcome.fault: outcome for outcome in outcomes if outcome.confirmed}
    assert set(confirmed) == {"missing_normalisation", "wrong_loss"}
    outcome = confirmed["wrong_loss"]
    assert outcome.swap.change == "standardise the inputs, and the loss that fits the task"
    assert outcome.swap.seeds >= 3 and outcome.swap.after > 0.85 and "alone" in outcome.reason
    assert outcome.beside == ("missing_normalisation",)


def test_a_fault_that_is_not_suspected_is_found_beside_one_that_is(subject_of, suspect):
    """The set may hold what no finding points to, where the suspect's repair needs it."""
    outcomes = confirm(
        subject_of(data=unscaled(), loss=wrong_loss, lr=3e-3), suspect({"wrong_loss": 0.7}), budget_seconds=90.0
    )
    assert {outcome.fault for outcome in outcomes if outcome.confirmed} == {"missing_normalisation", "wrong_loss"}


def test_faults_that_are_needed_together_are_not_folded_into_each_other(suspect):
    """A symptom of a cause is left to it, but not where its own repair is shown to be needed."""
    swap = Swap("both", "accuracy", 0.3, 0.9, 3, 0.001)
    report = suspect({}, Layer.MODEL)
    alone = [Outcome("constant_init", True, swap), Outcome("dead_relu", True, swap)]
    both = [
        Outcome("constant_init", True, swap, beside=("dead_relu",)),
        Outcome("dead_relu", True, swap, beside=("constant_init",)),
    ]
    assert [fault.fault for fault in standing_faults(report, alone)] == ["constant_init"]
    assert {fault.fault for fault in standing_faults(report, both)} == {"constant_init", "dead_relu"}
    assert [Outcome.from_json(outcome.to_json()) for outcome in both] == both


def test_one_fault_is_not_made_two(subject_of, suspect):
    """Where one swap restores health, nothing is added to it."""
    outcomes = confirm(
        subject_of(lr=1e-6), suspect({"learning_rate_too_low": 0.7, "excessive_dropout": 0.6}), budget_seconds=60.0
    )
    assert [outcome.fault for outcome in outcomes if outcome.confirmed] == ["learning_rate_too_low"]
    assert all(outcome.beside == () for outcome in outcomes)


def test_a_set_is_larger_than_each_of_its_parts():
    """Changes are ordered by how many they are, then by how much code they touch."""
    known = swaps()
    rate, loss, network = known["higher_rate"], known["fitting_loss"], known["reference_network"]
    assert rate.weight < loss.weight < network.weight < together([rate, loss]).weight


def test_a_set_is_applied_from_the_data_upwards(subject_of):
    """The inputs are standardised, and the loss is replaced, in one recipe."""
    subject = subject_of(data=unscaled(), loss=wrong_loss)
    kind = together([swaps()["fitting_loss"], swaps()["standardised_inputs"]])
    recipe = kind.apply(subject)
    assert [part.name for part in kind.parts] == ["standardised_inputs", "fitting_loss"]
    assert float(recipe.train.x.std()) < 1.1 and recipe.training.loss is not wrong_loss
    assert subject.recipe.training.loss is wrong_loss
