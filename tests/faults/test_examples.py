"""Every shipped example gets the verdict that its folder promises."""

from dataclasses import replace
from pathlib import Path

import pytest

from firstfault import load_target
from firstfault.check import Depth
from firstfault.diagnosis import diagnose
from firstfault.subject.subject import Subject

EXAMPLES = Path(__file__).parents[2] / "examples"
BROKEN = sorted(path.parent.name for path in (EXAMPLES / "broken").glob("*/target.py"))
# undoing them lowers the metric, or has none to compare
UNTESTABLE = {"split_overlap", "target_leakage", "task_mismatch"}
NO_PROFILE = {"profile_alerts": "it suspects nobody, and takes a process of its own"}


def verdict_of(folder, tmp_path, **parts):
    """The verdict of an example's bare run, without Prefect and MLflow runs."""
    target = replace(load_target(str(folder / "target.py")), **parts)
    return diagnose(Subject(target, tmp_path / "run"), Depth.STANDARD)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_example_is_named(name, tmp_path):
    """The first faulty layer is the folder's, and the planted fault comes first, confirmed where a swap applies."""
    layer, fault = name.split("_", 1)
    verdict = verdict_of(EXAMPLES / "broken" / name, tmp_path, mute=NO_PROFILE)
    assert verdict.status.value == "faulty"
    assert verdict.first_faulty_layer is not None
    assert verdict.first_faulty_layer.value == layer
    assert verdict.faults[0].fault == fault
    assert verdict.faults[0].confirmed is (None if fault in UNTESTABLE else True)


@pytest.mark.parametrize("name", ["digits", "adult", "assistant"])
def test_a_healthy_example_comes_out_healthy(name, tmp_path):
    """No fault, in any layer, and nothing crashed."""
    verdict = verdict_of(EXAMPLES / name, tmp_path)
    assert verdict.status.value == "healthy"
    assert verdict.faults == ()
    assert {finding.status.value for report in verdict.layers for finding in report.findings} <= {
        "pass",
        "warn",
        "skipped",
    }


def test_the_twin_of_the_mismatched_task_is_healthy(tmp_path):
    """The same program, declared as the regression that it is, has sound data."""
    folder = EXAMPLES / "broken" / "data_task_mismatch"
    verdict = verdict_of(folder, tmp_path, task="regression", mute=NO_PROFILE)
    assert verdict.status.value == "healthy"
