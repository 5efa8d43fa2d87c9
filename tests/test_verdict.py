"""The verdict ranks what stands, and its JSON keeps the contract."""

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from firstfault.cli.options import exit_code
from firstfault.faults import EXPLAINS, FAULTS
from firstfault.finding import Finding, Layer, LayerReport, Status
from firstfault.place import Kind, Place
from firstfault.standing import conclude, settle, standing_faults, suspected
from firstfault.verdict import Change, Fault, Outcome, SubjectKind, Swap, Verdict, schema

VERSION_1 = Path(__file__).parent / "verdicts" / "version_1.json"
"""A run of a model that doesn't fit its columns, as 0.1 wrote it, with fewer findings."""


def report(*faults, layer=Layer.TRAINING, status=Status.FAIL):
    findings = [
        Finding(
            f"check{number}",
            layer,
            status,
            f"measured {number}",
            where=Place.part(f"place{number}"),
            faults=fault,
            fix=f"fix {number}",
        )
        for number, fault in enumerate(faults)
    ]
    return LayerReport(layer, tuple(findings), 0.5)


def swap(before, after):
    return Swap("learning rate ÷ 10", "accuracy", before, after, 3, 0.01)


def test_evidence_adds_up():
    """Two independent findings of weight 0.5 make a suspicion of 0.75."""
    assert suspected(report({"stalled": 0.5}, {"stalled": 0.5}))["stalled"] == pytest.approx(0.75)


def test_a_cause_replaces_its_symptom():
    """A symptom is listed only when no cause stands."""
    faults = standing_faults(report({"diverged": 0.8, "learning_rate_too_high": 0.8}), [])
    assert [fault.fault for fault in faults] == ["learning_rate_too_high"]
    assert [fault.fault for fault in standing_faults(report({"diverged": 0.8}), [])] == ["diverged"]


def test_what_a_cause_brings_about_is_listed_under_it():
    """The message of a symptom becomes evidence of the cause that stands; that of another fault does not."""
    found = standing_faults(
        report({"wrong_loss_reduction": 0.92}, {"diverged": 0.5, "learning_rate_too_high": 0.4}, {"overfitting": 0.6}),
        [],
    )
    assert [(fault.fault, fault.evidence) for fault in found] == [
        ("wrong_loss_reduction", ("measured 0", "measured 1"))
    ]


def test_a_refuted_proof_still_stands_but_a_refuted_symptom_does_not():
    """Structure outweighs a swap that changed nothing."""
    refuted = [Outcome("dead_relu", False, swap(0.5, 0.5))]
    assert standing_faults(report({"dead_relu": 0.7}), refuted) == []
    [fault] = standing_faults(report({"dead_relu": 0.95}), refuted)
    assert fault.confirmed is False


def test_a_confirmed_fault_is_ranked_first():
    """Confirmation outranks a higher suspicion."""
    outcomes = [Outcome("learning_rate_too_low", True, swap(0.4, 0.9))]
    faults = standing_faults(report({"too_few_epochs": 0.8, "learning_rate_too_low": 0.6}), outcomes)
    assert faults[0].fault == "learning_rate_too_low"


def test_a_fault_that_only_a_swap_revealed_is_added():
    """A confirmed outcome without a finding of its own stands."""
    faults = standing_faults(report({"stalled": 0.6}), [Outcome("wrong_optimizer", True, swap(0.1, 0.9))])
    assert [fault.fault for fault in faults] == ["wrong_optimizer"]


def test_the_first_faulty_layer_is_the_earliest():
    """A fault found late but caused early points at the early layer."""
    faults = standing_faults(report({"missing_normalisation": 0.9, "learning_rate_too_high": 0.95}), [])
    verdict = conclude("t", [report()], faults, seconds=1.0)
    assert verdict.first_faulty_layer is Layer.PREPROCESSING


@pytest.mark.parametrize("faults", [(), ({"dead_relu": 0.95},)])
def test_the_json_follows_the_schema(faults):
    """A healthy and a faulty verdict both validate against the contract."""
    bad = report(*faults)
    outcomes = [Outcome("dead_relu", True, swap(0.5, float("nan")))] if faults else []
    seen = bad if faults else LayerReport(Layer.MODEL, (Finding("size", Layer.MODEL, Status.PASS, "small"),), 0.1)
    verdict = conclude("t", [seen], standing_faults(bad, outcomes) if faults else [], seconds=1.0)
    jsonschema.validate(json.loads(json.dumps(verdict.to_json(), allow_nan=False)), schema())
    assert verdict.to_json()["status"] == ("faulty" if faults else "healthy")


def test_a_change_and_what_a_swap_sets_survive_as_json():
    """They follow the schema, and are read again."""
    fault = Fault(
        "learning_rate_too_high",
        Layer.TRAINING,
        0.9,
        True,
        (),
        "divide it by 10",
        swap=replace(swap(0.5, 0.9), sets={"lr": 0.3}),
        change=Change("train.py", 22, "sgd = SGD(p, lr=3.0)", "sgd = SGD(p, lr=0.3)"),
    )
    verdict = conclude("t", [report()], [fault], seconds=1.0)
    jsonschema.validate(json.loads(json.dumps(verdict.to_json())), schema())
    assert Verdict.from_json(verdict.to_json()).faults == (fault,)


def test_a_verdict_of_version_1_can_still_be_read():
    """It validates against its own schema, its places keep their texts, and it is written anew as version 2."""
    old = json.loads(VERSION_1.read_text())
    jsonschema.validate(old, schema(1))
    read = Verdict.from_json(old)
    before, after = (
        [finding["where"] for layer in layers for finding in layer["findings"]]
        for layers in (old["layers"], read.to_json()["layers"])
    )
    assert [where and where["text"] for where in after] == before and any(before)
    assert (
        [fault.place for fault in read.faults]
        == [fault["where"] for fault in old["faults"]]
        == ["deaf.py:24 in forward"]
    )
    assert read.subject is SubjectKind.TARGET and {where["kind"] for where in after if where} == {"unknown"}
    jsonschema.validate(read.to_json(), schema())
    assert Verdict.from_json(read.to_json()) == read


def test_the_versions_of_the_schema_are_told_apart():
    """A verdict of one version does not validate against the other."""
    old, new = json.loads(VERSION_1.read_text()), conclude("t", [report()], [], seconds=1.0).to_json()
    for verdict, version in ((old, 2), (new, 1)):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(verdict, schema(version))


def test_the_schema_knows_every_kind_of_place_and_subject():
    """What the code can write, the contract names."""
    known = schema()
    assert known["$defs"]["place"]["properties"]["kind"]["enum"] == [kind.value for kind in Kind]
    assert known["properties"]["subject"]["enum"] == [kind.value for kind in SubjectKind]


def test_a_fault_points_to_the_places_of_its_evidence():
    """The strongest first, each once."""
    findings = [
        Finding("c", Layer.MODEL, Status.FAIL, "m", where=where, faults={"dead_relu": weight})
        for where, weight in (
            (Place.modules("fc1"), 0.5),
            (Place.modules("fc2"), 0.9),
            (Place(Kind.MODULE, ("fc1",), step=3), 0.4),
            (None, 0.7),
        )
    ]
    [fault] = standing_faults(LayerReport(Layer.MODEL, tuple(findings), 0.0), [])
    assert fault.where == (Place.modules("fc2"), Place.modules("fc1")) and fault.place == "fc2, fc1"


def test_a_crashed_check_without_a_fault_is_an_error():
    """firstfault's own failure is not called healthy."""
    assert conclude("t", [report({}, status=Status.ERROR)], [], seconds=1.0).status.value == "error"


def test_what_a_certain_cause_explains_is_folded_under_it():
    """Classes missing from a sorted split are no fault of their own; without the cause they are."""
    split = Finding("label_drift", Layer.DATA, Status.FAIL, "sorted", faults={"degenerate_split": 0.9})
    missing = Finding("missing_class", Layer.DATA, Status.FAIL, "no class 2", faults={"missing_class": 0.95})
    both = standing_faults(LayerReport(Layer.DATA, (split, missing), 0.0), [])
    assert [fault.fault for fault in both] == ["degenerate_split"]
    assert [fault.fault for fault in standing_faults(LayerReport(Layer.DATA, (missing,), 0.0), [])] == ["missing_class"]


def test_the_table_of_explanations_names_known_faults_and_has_no_circles():
    """Every id is known, and no explained fault explains its cause."""
    for cause, explained in EXPLAINS.items():
        assert {cause, *explained} <= set(FAULTS)
        assert not any(cause in EXPLAINS.get(fault, ()) for fault in explained)


def settled(faults, outcomes):
    """The report of one failed check after its swaps, and the verdict over it."""
    left = settle(report(faults), outcomes)
    return left.findings[0], conclude("t", [left], [], seconds=1.0).status.value


@pytest.mark.parametrize(
    "outcomes",
    [
        [],
        [Outcome("dead_relu", None, reason="the budget was spent")],
        [Outcome("dead_relu", None, swap(0.5, 0.5), "the training was too short", undecided=True)],
        [Outcome("stalled", False, swap(0.5, 0.5))],
    ],
)
def test_a_failure_that_no_swap_refuted_is_undecided(outcomes):
    """It is neither a fault nor healthy: it stays failed, and says why."""
    finding, status = settled({"dead_relu": 0.4}, outcomes)
    assert (finding.status, status) == (Status.FAIL, "undecided")
    assert "undecided: " in finding.message and (not outcomes or outcomes[0].reason in finding.message)


def test_a_failure_is_refuted_only_with_all_its_causes():
    """One cause that was not tried leaves it open; a symptom is no cause of its own."""
    refuted = Outcome("dead_relu", False, swap(0.5, 0.5))
    assert settled({"dead_relu": 0.4, "frozen_parameters": 0.3}, [refuted])[1] == "undecided"
    for faults in ({"dead_relu": 0.4}, {"dead_relu": 0.4, "stalled": 0.3}):
        finding, status = settled(faults, [refuted, Outcome("stalled", None)])
        assert (finding.status, status) == (Status.WARN, "healthy") and "no fault" in finding.message


def test_a_failure_that_points_to_no_fault_is_undecided():
    """A check of a third party need not know our ids; what fails is not healthy."""
    assert settled({}, [])[1] == "undecided"


def test_a_swap_that_could_not_tell_neither_raises_nor_lowers_a_proof():
    """A suspicion does not stand by it; a proof keeps its weight, and counts as not tested."""
    tried = [Outcome("dead_relu", None, swap(0.5, 0.5), "too short", undecided=True)]
    assert standing_faults(report({"dead_relu": 0.8}), tried) == []
    [fault] = standing_faults(report({"dead_relu": 0.95}), tried)
    assert (fault.confidence, fault.confirmed) == (0.95, None)


def test_an_undecided_verdict_keeps_the_contract_and_has_an_exit_code_of_its_own():
    """Its JSON validates, and CI reads 4."""
    verdict = conclude("t", [settle(report({"dead_relu": 0.4}), [])], [], seconds=1.0)
    jsonschema.validate(json.loads(json.dumps(verdict.to_json(), allow_nan=False)), schema())
    assert verdict.to_json()["first_faulty_layer"] is None and exit_code(verdict) == 4


def test_an_outcome_survives_its_journey_as_json():
    """Processes hand outcomes on as JSON."""
    for outcome in (
        Outcome("dead_relu", None, swap(0.5, 0.5), "too short", ("stalled",), True),
        Outcome("stalled", True),
    ):
        assert Outcome.from_json(outcome.to_json()) == outcome
