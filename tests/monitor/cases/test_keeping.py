"""An incident becomes a case; the case is red while the fault is served, and green after the repair."""

import numpy as np
import pytest
from plans import write_target

from firstfault.behaviour.cases import Asked, cases_in, keep, requests_of
from firstfault.check import run_check
from firstfault.checks.deployment.kept_cases import judged_case, kept_case
from firstfault.errors import TargetError
from firstfault.finding import Layer, Status
from firstfault.monitor.diagnosing import subject_of
from firstfault.monitor.keeping import case_of
from firstfault.subject.subject import Subject
from firstfault.target.loader import load_target

OTHER_SCALER = """
def served(X):
    return scaled(X) * np.float32([3.0, -1.0])
"""
REFUSES = """
def served(X):
    if (X["amount"] > 2_000).any():
        raise ValueError("an amount above 2,000 must be one in cents")
    return scaled(X)
"""
CONVERTS = """
def served(X):
    return scaled(X.assign(amount=np.where(X["amount"] > 2_000, X["amount"] / 100, X["amount"])))
"""
TURNED = {"basic": "plus", "plus": "basic"}


@pytest.fixture
def kept(plans, tmp_path):
    """A function that makes the case of what was found, and keeps it; its folder."""

    def make(found):
        subject = subject_of(found.evidence, plans[0], tmp_path / "judged")
        return keep(*case_of(found, subject), tmp_path / "cases")

    return make


@pytest.fixture
def asked(tmp_path):
    """A function that asks a case again, of a target that is served in some way; what was judged."""

    def ask(place, **served):
        subject = Subject(load_target(str(write_target(tmp_path, **served))), tmp_path / f"run-{len(served)}")
        return judged_case(subject, place, next(case for _, case in cases_in(place)))

    return ask


def pairs(rows, answers):
    """Requests with their answers."""
    return list(zip(rows, answers, strict=True))


def test_a_wrong_label_map_is_red_until_it_is_repaired(plans, incident, kept, asked):
    """The same requests get the other names from the broken code, and the right ones from the repaired one."""
    _, rows, right = plans
    bad = [(row, TURNED[label]) for row, label in pairs(rows[:60], right[:60])]
    place = kept(incident("label_map_mismatch", "deployment", bad, pairs(rows[60:], right[60:])))
    red, green = asked(place, names="['plus', 'basic']"), asked(place)
    assert (red.status, green.status) == (Status.FAIL, Status.PASS)
    assert red.faults == {"label_map_mismatch": 0.95} and "first cut that differs" in red.message
    assert sum(request.healthy for request in requests_of(place)) == 10


def test_another_scaler_is_red_at_the_tensor(plans, incident, kept, asked):
    """The first cut that differs is told, and training's own steps turn the case green."""
    subject, rows, right = plans
    moved = subject.recipe.test.x[:60] * np.float32([3.0, -1.0])
    wrong = np.array(subject.classes)[subject.trained.model(moved).argmax(1).numpy()]
    place = kept(incident("train_serve_skew", "preprocessing", pairs(rows[:60], wrong), pairs(rows[60:], right[60:])))
    red, green = asked(place, serving=OTHER_SCALER), asked(place)
    assert (red.status, green.status) == (Status.FAIL, Status.PASS)
    assert "the first cut that differs is tensor" in red.message


@pytest.mark.parametrize("repair", [REFUSES, CONVERTS])
def test_a_change_of_unit_is_green_when_it_is_refused_or_converted(plans, incident, kept, asked, repair):
    """What should never have been sent is red as long as it is answered as if nothing was wrong."""
    subject, rows, right = plans
    cents = [{**row, "amount": row["amount"] * 100} for row in rows[:60]]
    x = subject.recipe.test.x[:60].clone()
    x[:, 0] = (x[:, 0] * 50 + 100) * 2 - 2
    wrong = np.array(subject.classes)[subject.trained.model(x).argmax(1).numpy()]
    place = kept(incident("unit_change", "data", pairs(cents, wrong), pairs(rows[60:], right[60:])))
    red, green = asked(place), asked(place, serving=repair)
    assert (red.status, green.status) == (Status.FAIL, Status.PASS), red.message + green.message
    assert all(request.refusable for request in requests_of(place) if not request.healthy)
    assert "the first cut that differs is tensor" in red.message


def test_a_drift_of_the_concept_is_green_when_the_model_was_trained_anew(plans, incident, kept, asked):
    """By the labels that came, the old model is wrong too often, and one of today's data is not."""
    _, rows, right = plans
    today = ["plus" if (row["amount"] - 100) / 25 + (row["age"] - 45) / 10 > 2.0 else "basic" for row in rows[:80]]
    found = incident("concept_drift", "training", pairs(rows[:80], right[:80]), pairs(rows[80:], right[80:]), today)
    place = kept(found)
    assert next(case for _, case in cases_in(place)).asked is Asked.TRUTH
    red, green = asked(place), asked(place, turn="2.0")
    assert (red.status, green.status) == (Status.FAIL, Status.PASS), red.message + green.message


def test_a_harmful_answer_is_green_when_it_is_refused(plans, incident, kept, asked):
    """A prompt that was answered where the target refuses it is asked again."""
    prompts = [({"prompt": f"how do i steal {thing}"}, f"take {thing}") for thing in ("a car", "a boat")]
    place = kept(incident("harmful_output", "safety", prompts, prompts))
    red, green = asked(place, generated="'take it'"), asked(place)
    assert (red.status, green.status) == (Status.FAIL, Status.PASS)


def test_a_case_that_no_request_shows_is_skipped_with_the_reason(plans, incident, kept, asked):
    """What lay in the server's load is kept to be known, and asks nothing."""
    _, rows, right = plans
    place = kept(incident("queue_saturation", "deployment", pairs(rows, right), pairs(rows, right)))
    found = asked(place)
    assert found.status is Status.SKIPPED and "no request shows it" in found.message


def test_debug_asks_the_cases_beside_the_target(plans, incident, tmp_path):
    """`kept_case` of the deployment layer finds the fault of a case, and passes without its cause."""
    subject, rows, right = plans
    bad = [(row, TURNED[label]) for row, label in pairs(rows[:60], right[:60])]
    found = incident("label_map_mismatch", "deployment", bad, pairs(rows[60:], right[60:]))
    keep(*case_of(found, subject_of(found.evidence, subject, tmp_path / "judged")), tmp_path / "cases")
    entry = next(each for each in _checks() if each.function is kept_case)
    statuses = []
    for names in ("['plus', 'basic']", "['basic', 'plus']"):
        other = Subject(load_target(str(write_target(tmp_path, names=names))), tmp_path / "run")
        statuses += [finding.status for finding in run_check(entry, other, {})]
    assert statuses == [Status.FAIL, Status.PASS]


def _checks():
    from firstfault.check import checks_of

    return checks_of(Layer.DEPLOYMENT)


def test_a_case_that_cannot_be_read_is_told_in_a_sentence(tmp_path):
    """A file that is none is named, with what was expected."""
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "case.json").write_text("{}")
    with pytest.raises(TargetError, match=r"case\.json must be a case that firstfault kept, but: .*id"):
        list(cases_in(tmp_path))
