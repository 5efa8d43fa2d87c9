"""Findings are plain values that survive JSON."""

import json

import numpy as np
import pytest

from firstfault.finding import LADDER, Finding, Layer, LayerReport, Status, plain, worst


def finding(status=Status.FAIL, **changes):
    return Finding("dead_relu", Layer.MODEL, status, "60% of the units are dead", **changes)


def test_a_finding_survives_json():
    """What to_json writes, from_json reads back unchanged."""
    before = finding(value=0.6, threshold=0.5, where="relu1", faults={"dead_relu": 0.8}, artifacts=("a.png",))
    assert Finding.from_json(json.loads(json.dumps(before.to_json()))) == before


def test_a_report_survives_json():
    """A layer report keeps its findings, seconds and suspicion."""
    before = LayerReport(Layer.MODEL, (finding(), finding(Status.PASS)), 1.5, suspect=True)
    assert LayerReport.from_json(json.loads(json.dumps(before.to_json()))) == before


def test_a_report_is_as_bad_as_its_worst_finding():
    """fail beats error, error beats warn, warn beats pass, pass beats skipped."""
    order = [Status.FAIL, Status.ERROR, Status.WARN, Status.PASS, Status.SKIPPED]
    assert [worst(order[start:]) for start in range(len(order))] == order


@pytest.mark.parametrize(("value", "expected"), [
    (np.float32(0.5), 0.5), (np.int64(3), 3), (float("nan"), "nan"), (float("-inf"), "-inf"), ((1, 2), [1, 2]),
    ({"a": np.bool_(True)}, {"a": True}), (Layer.DATA, "data"), (None, None),
])
def test_values_become_plain(value, expected):
    """NumPy scalars, tuples, enums and numbers that JSON lacks become JSON values."""
    assert plain(value) == expected


def test_an_array_does_not_belong_in_a_finding():
    """An array is refused with what came."""
    with pytest.raises(TypeError, match="ndarray"):
        plain(np.zeros(3))


def test_the_ladder_runs_from_data_to_deployment():
    """Safety is a layer that is judged outside the order."""
    assert [layer.value for layer in LADDER] == ["data", "preprocessing", "model", "training", "deployment"]
    assert Layer.SAFETY not in LADDER
