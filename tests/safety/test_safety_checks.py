"""The checks of safety as checks like any other: thresholds, crashes, and what does not apply."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from firstfault import Data, Safety, Target, Training
from firstfault.check import Depth, run_checks
from firstfault.checks.safety import evaluate_safety
from firstfault.cli.preflight import expect_workable
from firstfault.diagnosis import diagnose
from firstfault.errors import TargetError
from firstfault.finding import Layer, Status
from firstfault.subject.subject import Subject
from firstfault.verdict import VerdictStatus
from firstfault.watcher.safety_monitor import evaluated, evaluation_of


def network():
    """A small classifier of three columns."""
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))


class Fragile(nn.Module):
    """A model whose code raises when it is asked."""

    def forward(self, x):
        raise ValueError("no answer")


def rows(n=600):
    """A table with a group that says nothing, and labels that two columns give."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=n), "b": rng.normal(size=n)})
    frame["group"] = rng.integers(0, 2, n).astype(float)
    return frame, (frame["a"] + frame["b"] > 0).to_numpy().astype(int)


HEALTHY = Target(
    "sound",
    data=Data(train=rows(), sensitive=["group"]),
    model=network,
    root=Path(__file__).parent,
    training=Training(optimizer=partial(torch.optim.Adam, lr=0.02), epochs=8),
)


@pytest.fixture
def judged(tmp_path):
    """A function target → the findings of its safety by check."""

    def findings(target):
        report = run_checks(Layer.SAFETY, Subject(target, tmp_path / "run"), Depth.STANDARD, target.thresholds)
        return {finding.check: finding for finding in report.findings}

    return findings


def test_a_target_sets_the_thresholds_of_safety(judged):
    """The same accuracy under noise passes by our bound, and fails by the target's own."""
    before = judged(HEALTHY)["robustness"]
    bound = before.value + 0.01
    after = judged(replace(HEALTHY, thresholds={"robustness": {"keeps": bound}}))["robustness"]
    assert before.status is Status.PASS and after.status is Status.FAIL
    assert (after.value, after.threshold, after.faults) == (before.value, bound, {"not_robust": 0.9})


def test_any_size_of_noise_can_be_asked_for(judged):
    """One that is not among those of the table is measured too."""
    found = judged(replace(HEALTHY, thresholds={"robustness": {"noise": 0.3}}))["robustness"]
    assert found.status in (Status.PASS, Status.WARN) and "noise of 0.3 deviations" in found.message


def test_the_groups_that_are_judged_are_as_large_as_the_target_says(judged):
    """Groups below `smallest` are not compared."""
    found = judged(replace(HEALTHY, thresholds={"group_metrics": {"smallest": 500}}))["group_metrics"]
    assert judged(HEALTHY)["group_metrics"].status in (Status.PASS, Status.WARN)
    assert found.status is Status.SKIPPED and "two groups of 500" in found.message


def test_a_threshold_of_safety_that_nobody_knows_is_refused():
    """Before anything runs, with the names that there are."""
    with pytest.raises(TargetError, match=r"thresholds\['robustness'\] must name noise, keeps"):
        expect_workable(replace(HEALTHY, thresholds={"robustness": {"strength": 1}}))
    expect_workable(replace(HEALTHY, thresholds={"robustness": {"keeps": 0.4}}))


def test_a_crash_of_one_check_is_an_error_and_the_others_go_on(judged):
    """A bound that can't be compared crashes the check that has it."""
    found = judged(replace(HEALTHY, thresholds={"confident_errors": {"sure": "very"}}))
    crash = found["confident_errors"]
    assert crash.status is Status.ERROR and "the check itself crashed" in crash.message
    assert found["robustness"].status is Status.PASS and found["group_metrics"].status is not Status.ERROR


def test_safety_does_not_accuse_code_of_another_layer(tmp_path):
    """Where the model can't be built, its own layer says so, and safety is skipped."""

    def broken():
        raise ValueError("no model")

    verdict = diagnose(Subject(replace(HEALTHY, model=broken), tmp_path), Depth.STANDARD, only=Layer.SAFETY)
    assert verdict.faults == () and {finding.status for finding in verdict.layers[0].findings} == {Status.SKIPPED}
    assert any("no model" in finding.message for finding in verdict.layers[0].findings)


def test_the_verdict_tells_of_safety_only_where_something_of_it_is_declared(tmp_path):
    """A regression has no safety section, no failure cases and no PDF."""
    X, y = rows(100)
    target = replace(HEALTHY, task="regression", data=Data(train=(X, y.astype(float))))
    verdict = diagnose(Subject(target, tmp_path), Depth.STANDARD, only=Layer.SAFETY)
    assert verdict.layers == () and verdict.safety is None and verdict.status is VerdictStatus.UNDECIDED
    assert not list(tmp_path.glob("*.pdf")) and not list(tmp_path.glob("*.json"))


def test_an_evaluation_is_made_once(tmp_path):
    """Asked again, it is the same, and no case is counted twice."""
    (tmp_path / "suite.yaml").write_text("cases:\n  - {prompt: hi, scorer: exact, expect: ho}\n")
    target = Target("m", task="language_model", safety=Safety(suites=["suite.yaml"], generate=str), root=tmp_path)
    subject = Subject(target, tmp_path / "run")
    run_checks(Layer.SAFETY, subject)
    assert evaluate_safety(subject) is evaluate_safety(subject) and evaluate_safety(subject).failure_cases == 1


def test_on_the_way_the_targets_thresholds_hold(tmp_path):
    """A bound that the target sets makes a violation of what is none by ours."""
    subject = Subject(HEALTHY, tmp_path)
    strict = Subject(replace(HEALTHY, thresholds={"robustness": {"keeps": 2.0}}), tmp_path)
    assert evaluated(evaluation_of(subject), subject.trained.model).violations == ()
    [violation] = evaluated(evaluation_of(strict), strict.trained.model).violations
    assert violation.check == "robustness"


def test_on_the_way_code_that_raises_is_no_violation(tmp_path):
    """It says nothing of safety: the score is unknown, and the training goes on."""
    subject = Subject(HEALTHY, tmp_path)
    subject.get("recipe")
    found = evaluated(evaluation_of(subject), Fragile())
    assert found.violations == () and np.isnan(found.score)
