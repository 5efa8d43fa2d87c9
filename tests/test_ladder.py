"""The walk up the ladder stops at the first layer in which a fault stands."""

from functools import partial

import pytest

from firstfault.finding import LADDER, Finding, Layer, LayerReport, Status
from firstfault.ladder import Step, walk
from firstfault.verdict import Outcome, Swap


def steps_with(bad, layers=LADDER):
    """Steps in which the layers of `bad` (layer -> faults) fail."""

    def examine(layer):
        faults = bad.get(layer)
        status = Status.FAIL if faults else Status.PASS
        return LayerReport(layer, (Finding("check", layer, status, "it is 3", faults=faults or {}),), 0.1)

    return [Step(layer, partial(examine, layer)) for layer in layers]


def confirm_nothing(report):
    return []


def test_a_healthy_target_is_walked_to_the_end():
    """Every layer is examined, and no fault is named."""
    found = walk(steps_with({}), confirm_nothing)
    assert [report.layer for report in found.reports] == list(LADDER)
    assert found.faults == ()


def test_the_walk_stops_at_a_proven_fault():
    """Layers above the first faulty one are not examined."""
    found = walk(steps_with({Layer.PREPROCESSING: {"row_loss": 0.95}}), confirm_nothing)
    assert [report.layer for report in found.reports] == [Layer.DATA, Layer.PREPROCESSING]
    assert [fault.fault for fault in found.faults] == ["row_loss"]


def test_keep_going_marks_later_layers_as_suspect():
    """With keep_going every layer is examined, and those after a failed one are suspect."""
    found = walk(steps_with({Layer.MODEL: {"dead_relu": 0.9}}), confirm_nothing, keep_going=True)
    assert [report.suspect for report in found.reports] == [False, False, False, True, True]


def test_a_refuted_symptom_does_not_stop_the_walk():
    """When undoing a suspicion changes nothing, its layer counts as sound, with a warning."""

    def refute(report):
        return [Outcome("missing_normalisation", False, Swap("standardise", "accuracy", 0.9, 0.9, 3, 0.8))]

    found = walk(steps_with({Layer.PREPROCESSING: {"missing_normalisation": 0.75}}), refute)
    assert found.faults == ()
    assert len(found.reports) == len(LADDER)
    assert found.reports[1].status is Status.WARN


def test_a_confirmed_symptom_stands_with_its_swap():
    """The swap's numbers become evidence."""

    def approve(report):
        return [Outcome("missing_normalisation", True, Swap("standardise the inputs", "accuracy", 0.6, 0.86, 3, 0.01))]

    [fault] = walk(steps_with({Layer.PREPROCESSING: {"missing_normalisation": 0.75}}), approve).faults
    assert fault.confirmed is True
    assert fault.confidence > 0.9
    assert any("0.600 → 0.860" in line for line in fault.evidence)


@pytest.mark.parametrize("layer", list(LADDER))
def test_only_examines_one_layer(layer):
    """A walk of one step examines that layer alone."""
    assert [report.layer for report in walk(steps_with({}, [layer]), confirm_nothing).reports] == [layer]


def not_tried(report):
    return [
        Outcome(fault, None, reason="the target declares no model")
        for finding in report.failures
        for fault in finding.faults
    ]


@pytest.mark.parametrize("keep_going", [False, True])
def test_an_untested_suspicion_that_is_too_weak_to_stand_is_kept(keep_going):
    """The walk goes on, and its failure stays, with the reason."""
    found = walk(steps_with({Layer.DATA: {"random_labels": 0.4}}), not_tried, keep_going=keep_going)
    assert found.faults == () and len(found.reports) == len(LADDER)
    [failure] = found.reports[0].failures
    assert "the target declares no model" in failure.message
    assert not any(report.suspect for report in found.reports)


def test_an_undecided_layer_gives_way_to_a_later_fault():
    """Where a later layer is at fault, an earlier suspicion is worth a look, no more."""
    found = walk(steps_with({Layer.DATA: {"random_labels": 0.4}, Layer.MODEL: {"detached_graph": 0.95}}), not_tried)
    assert [fault.fault for fault in found.faults] == ["detached_graph"]
    assert [report.status for report in found.reports] == [Status.WARN, Status.PASS, Status.FAIL]
    assert "undecided" in found.reports[0].findings[0].message


def test_what_is_outside_of_the_order_is_judged_where_the_order_is_sound():
    """Safety comes last, wherever it is listed, and its proof stands without a swap."""
    found = walk(steps_with({Layer.SAFETY: {"misaligned": 0.9}}, [Layer.SAFETY, *LADDER]), confirm_nothing)
    assert [report.layer for report in found.reports] == [*LADDER, Layer.SAFETY]
    assert [fault.fault for fault in found.faults] == ["misaligned"] and found.outcomes == ()


@pytest.mark.parametrize("keep_going", [False, True])
def test_what_is_outside_of_the_order_is_not_judged_beside_a_fault(keep_going):
    """Unless the walk is to go on; its faults come after those of the order."""
    bad = {Layer.DATA: {"random_labels": 0.95}, Layer.SAFETY: {"misaligned": 0.9}}
    found = walk(steps_with(bad, list(Layer)), confirm_nothing, keep_going=keep_going)
    assert [fault.fault for fault in found.faults] == ["random_labels", "misaligned"][: 1 + keep_going]
    assert (found.reports[-1].layer is Layer.SAFETY) is keep_going


def test_a_step_of_which_there_is_nothing_to_say_leaves_no_report():
    """The walk goes on to the next."""
    steps = [Step(Layer.DATA, lambda: None), *steps_with({}, [Layer.MODEL]), Step(Layer.SAFETY, lambda: None)]
    assert [report.layer for report in walk(steps, confirm_nothing).reports] == [Layer.MODEL]


@pytest.mark.parametrize("later", ["stalled", "too_few_epochs"])
def test_what_is_not_certain_of_a_later_layer_leaves_an_earlier_one_open(later):
    """What is suspected there, and could not be tested, may have brought it about: a symptom, or an unproven cause."""
    suspected = {Layer.PREPROCESSING: {"random_labels": 0.4}, Layer.TRAINING: {later: 0.6}}
    found = walk(steps_with(suspected), confirm_nothing)
    assert found.faults == () and [report.status for report in found.reports].count(Status.FAIL) == 2
