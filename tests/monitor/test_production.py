"""A model in production, debugged from Python."""

import random

import msgspec
import pytest

from firstfault.errors import FirstfaultError
from firstfault.monitor.incidents import Evidence, Incidents
from firstfault.production import DriftDetector, PerformanceMonitor, ProductionDebugger


def served(count, failing, since):
    """Requests of a model, one a second, of which a share fails."""
    draw = random.Random(3)
    for number in range(count):
        fails = draw.random() < failing
        row = {"id": f"{since + number}", "time": 1_790_000_000 + since + number}
        row |= {"input": {"age": draw.gauss(40, 9), "plan": draw.choice("ab")}, "latency_ms": draw.gauss(9, 1)}
        yield row | ({"status": 500, "error": "no memory"} if fails else {"output": {"label": draw.randint(0, 1)}})


@pytest.fixture(scope="module")
def debugger(tmp_path_factory):
    """One that has seen 600 healthy requests, then 400 of which many fail, and what it said."""
    folder = tmp_path_factory.mktemp("production")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("FIRSTFAULT_HOME", str(folder / ".firstfault"))
        found = ProductionDebugger("churn", {"store": str(folder / "store"), "detection": {"reference": 400}})
        yield found, list(found.continuous_debugging([*served(600, 0.02, 0), *served(400, 0.5, 600)]))


def test_an_incident_is_an_issue_with_its_diagnosis(debugger):
    """What fails is one issue of performance: what was seen, a category, a report."""
    _, issues = debugger
    (issue,) = issues
    assert (issue.kind, issue.incident.monitor) == ("performance", "bad_events")
    assert "errors" in issue.contributing_factors[0]
    assert 0 <= issue.severity <= 1
    assert issue.report


def test_the_verdict_is_kept_with_the_incident(debugger):
    """Whoever lists the store's incidents sees what the debugger concluded."""
    ours, (issue,) = debugger
    kept = Incidents(ours.store.database).get(issue.incident.id)
    assert kept.verdict["status"] == issue.verdict.status.value


def test_the_requests_of_an_issue_are_held(debugger):
    """They stay, whatever their age."""
    ours, (issue,) = debugger
    assert set(issue.incident.requests) <= ours.store.held()


def test_the_last_issue_of_a_kind_is_diagnosed_anew(debugger):
    """An incident is of every kind that any of its monitors sees, and there is none of the other kinds."""
    ours, (issue,) = debugger
    assert ours.debug_performance().incident.id == issue.incident.id
    assert ours.debug_safety_violation() is ours.debug_distribution_shift() is None
    moved = Evidence("inputs", "age", 3.0, issue.incident.began, "age is older")
    seen = msgspec.structs.replace(issue.incident, evidence=(*issue.incident.evidence, moved))
    ours.incidents.keep(seen)
    assert ours.debug_distribution_shift().incident == seen
    assert len(repr(seen)) < 300 and "bad_events" in repr(seen)


def test_a_setting_that_nobody_knows_is_refused():
    """The sentence names the nearest one."""
    with pytest.raises(FirstfaultError, match="did you mean target"):
        ProductionDebugger("churn", {"traget": "target.py"})


def test_an_element_that_is_no_request_is_refused(tmp_path):
    """A stream holds rows, or pairs."""
    ours = ProductionDebugger("churn", {"store": str(tmp_path)})
    with pytest.raises(FirstfaultError, match="must be a row with an input and an output, or a pair of them, but: got"):
        list(ours.continuous_debugging([3]))


def test_each_kind_of_detector_looks_for_its_own(debugger):
    """Failing requests are an incident of performance, and no drift."""
    ours, _ = debugger
    records = ours.store.records()
    healthy, failing = records[:500], records[500:]
    assert PerformanceMonitor(baseline=healthy).feed(failing)
    assert not DriftDetector(baseline=healthy).feed(failing)
