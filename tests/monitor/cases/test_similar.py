"""Earlier cases that are like a new incident are told with it."""

from firstfault.behaviour.cases import Asked, Case
from firstfault.monitor.incidents import Incident
from firstfault.monitor.similar import nearest

NEW = Incident("new", "plans", "scores", 0.0, 0.0, 12.0, "the scores moved")
VERDICT = {
    "first_faulty_layer": "data",
    "faults": [{"fault": "unit_change", "where": [{"kind": "column", "names": ["amount"]}]}],
}


def case(name, fault, layer, **more):
    """An earlier case."""
    return Case(name, "plans", "scores", "", Asked.ANSWERS, 0.95, layer, fault, **more)


def test_the_likest_comes_first_with_what_helped():
    """The same fault at the same column before the same fault elsewhere; another layer's by the same monitor not."""
    same = case("old-1", "unit_change", "data", place="amount", remedy="send euros", proven=True)
    elsewhere = case("old-2", "unit_change", "data", place="age")
    other = case("old-3", "cpu_throttled", "deployment")
    found = nearest(NEW, VERDICT, [other, elsewhere, same, case("new", "unit_change", "data")])
    assert [each.case.id for each in found] == ["old-1", "old-2"]
    assert "what helped: send euros" in str(found[0]) and "fault, layer" in str(found[1])


def test_what_is_not_known_is_like_nothing():
    """Without a verdict, model and monitor alone make no case alike."""
    assert nearest(NEW, None, [case("old", "", "")]) == []
