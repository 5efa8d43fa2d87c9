"""Look-alikes are told apart by what can be measured, not by their order alone."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from firstfault.ablation.confirm.confirm import confirm
from firstfault.ablation.confirm.look_alikes import absent, argue, ruled_out
from firstfault.ablation.confirm.rules import Rules
from firstfault.finding import Finding, Layer, LayerReport, Status

PAIR = ("missing_normalisation", "learning_rate_too_high")


def scaled(factor):
    """Two clusters in 4 columns, times `factor`."""
    random = np.random.default_rng(0)
    y = random.integers(0, 3, 300)
    return ((np.eye(3)[y] @ random.normal(size=(3, 8)) * 2 + random.normal(size=(300, 8))) * factor).astype(
        np.float32
    ), y


@pytest.mark.parametrize(("factor", "cause"), [(500.0, PAIR[0]), (1.0, PAIR[1])])
def test_the_scale_of_the_inputs_decides_between_scaling_and_rate(subject_of, factor, cause):
    """Inputs in the hundreds are the cause of a rate that is too high; inputs of unit scale are not."""
    subject = subject_of(data=scaled(factor))
    assert ruled_out(subject, PAIR, Rules()) == set(PAIR) - {cause}
    (rival,) = set(PAIR) - {cause}
    sentence = argue(subject, cause, PAIR, LayerReport(Layer.TRAINING, (), 0.0))[0]
    assert sentence.startswith(f"{cause} rather than {rival}, as the prepared inputs reach")


def test_faults_that_are_no_look_alikes_both_stay(subject_of):
    """Nothing is ruled out where nothing is measured."""
    assert ruled_out(subject_of(), ("wrong_loss", "no_shuffle"), Rules()) == frozenset()


def test_the_finding_that_points_to_one_fault_alone_speaks_for_it(subject_of):
    """Where no measurement decides, the findings do."""
    finding = Finding("order", Layer.TRAINING, Status.FAIL, "sorted", faults={"no_shuffle": 0.8})
    report = LayerReport(Layer.TRAINING, (finding,), 0.0)
    assert argue(subject_of(), "no_shuffle", ["no_shuffle", "wrong_loss"], report) == [
        "no_shuffle rather than wrong_loss, as order points to it alone"
    ]


@pytest.mark.parametrize(("factor", "fault"), [(1e-4, "missing_normalisation"), (300.0, "double_normalisation")])
def test_one_repair_of_two_faults_is_named_after_the_sign_that_is_there(subject_of, factor, fault):
    """Tiny inputs were scaled twice, large ones not at all."""
    assert absent(subject_of(data=scaled(factor))) == {fault}


def test_the_verdict_says_why_it_is_the_scaling(subject_of, suspect):
    """Both repairs help; the outcome names the measured scale."""
    subject = subject_of(data=scaled(300.0), optimizer=partial(torch.optim.SGD, lr=0.05), epochs=8)
    report = suspect({"missing_normalisation": 0.6, "learning_rate_too_high": 0.6})
    outcomes = {outcome.fault: outcome for outcome in confirm(subject, report, budget_seconds=60.0)}
    cause, rival = outcomes["missing_normalisation"], outcomes["learning_rate_too_high"]
    assert cause.confirmed is True and rival.confirmed is not True
    assert rival.swap.after > rival.swap.before + 0.2
    assert "the prepared inputs reach" in cause.reason
