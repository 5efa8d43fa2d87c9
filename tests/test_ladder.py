"""The walk up the ladder stops at the first layer in which a fault stands."""

import pytest

from firstfault.finding import LADDER, Finding, Layer, LayerReport, Status
from firstfault.ladder import walk
from firstfault.verdict import Outcome, Swap


def examine_with(bad):
    """Reports in which the layers of `bad` (layer -> faults) fail."""

    def examine(layer):
        faults = bad.get(layer)
        status = Status.FAIL if faults else Status.PASS
        return LayerReport(layer, (Finding("check", layer, status, "it is 3", faults=faults or {}),), 0.1)

    return examine


def confirm_nothing(report):
    return []


def test_a_healthy_target_is_walked_to_the_end():
    """Every layer is examined, and no fault is named."""
    found = walk(examine_with({}), confirm_nothing)
    assert [report.layer for report in found.reports] == list(LADDER)
    assert found.faults == ()


def test_the_walk_stops_at_a_proven_fault():
    """Layers above the first faulty one are not examined."""
    found = walk(examine_with({Layer.PREPROCESSING: {"row_loss": 0.95}}), confirm_nothing)
    assert [report.layer for report in found.reports] == [Layer.DATA, Layer.PREPROCESSING]
    assert [fault.fault for fault in found.faults] == ["row_loss"]


def test_keep_going_marks_later_layers_as_suspect():
    """With keep_going every layer is examined, and those after a failed one are suspect."""
    found = walk(examine_with({Layer.MODEL: {"dead_relu": 0.9}}), confirm_nothing, keep_going=True)
    assert [report.suspect for report in found.reports] == [False, False, False, True, True]


def test_a_refuted_symptom_does_not_stop_the_walk():
    """When undoing a suspicion changes nothing, its layer counts as sound, with a warning."""

    def refute(report):
        return [Outcome("missing_normalisation", False, Swap("standardise", "accuracy", 0.9, 0.9, 3, 0.8))]

    found = walk(examine_with({Layer.PREPROCESSING: {"missing_normalisation": 0.75}}), refute)
    assert found.faults == ()
    assert len(found.reports) == len(LADDER)
    assert found.reports[1].status is Status.WARN


def test_a_confirmed_symptom_stands_with_its_swap():
    """The swap's numbers become evidence."""

    def approve(report):
        return [Outcome("missing_normalisation", True, Swap("standardise the inputs", "accuracy", 0.6, 0.86, 3, 0.01))]

    [fault] = walk(examine_with({Layer.PREPROCESSING: {"missing_normalisation": 0.75}}), approve).faults
    assert fault.confirmed is True
    assert fault.confidence > 0.9
    assert any("0.600 → 0.860" in line for line in fault.evidence)


@pytest.mark.parametrize("layer", list(LADDER))
def test_only_examines_one_layer(layer):
    """`only` restricts the walk to that layer."""
    assert [report.layer for report in walk(examine_with({}), confirm_nothing, layers=[layer]).reports] == [layer]


def not_tried(report):
    return [Outcome(fault, None, reason="the target declares no model") for finding in report.failures for fault in finding.faults]


@pytest.mark.parametrize("keep_going", [False, True])
def test_an_untested_suspicion_that_is_too_weak_to_stand_is_kept(keep_going):
    """The walk goes on, and its failure stays, with the reason."""
    found = walk(examine_with({Layer.DATA: {"random_labels": 0.4}}), not_tried, keep_going=keep_going)
    assert found.faults == () and len(found.reports) == len(LADDER)
    [failure] = found.reports[0].failures
    assert "the target declares no model" in failure.message
    assert not any(report.suspect for report in found.reports)


def test_an_undecided_layer_gives_way_to_a_later_fault():
    """Where a later layer is at fault, an earlier suspicion is worth a look, no more."""
    found = walk(examine_with({Layer.DATA: {"random_labels": 0.4}, Layer.MODEL: {"detached_graph": 0.95}}), not_tried)
    assert [fault.fault for fault in found.faults] == ["detached_graph"]
    assert [report.status for report in found.reports] == [Status.WARN, Status.PASS, Status.FAIL]
    assert "undecided" in found.reports[0].findings[0].message
