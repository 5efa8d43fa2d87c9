"""`pytest --firstfault cases/`: a test per case, on the target that the case names."""

import json

import pytest
from msgspec.structs import replace
from plans import write_target

import firstfault.checks.deployment.kept_cases
import firstfault.diagnosis
from firstfault.behaviour.cases import Asked, Case, Request, keep

pytest_plugins = ["pytester"]
LOADED = firstfault.diagnosis, firstfault.checks.deployment.kept_cases
"""Imported before pytester takes its snapshot of the modules: NumPy and torch can't be imported twice in a process."""


@pytest.fixture
def folder(plans, pytester, monkeypatch):
    """A target with one case whose label map was wrong, and one that no request shows."""
    monkeypatch.setenv("FIRSTFAULT_HOME", str(pytester.path / "state"))
    _, rows, right = plans
    case = Case("inc-1", "plans", "scores", "the scores moved", Asked.ANSWERS, 0.95, "deployment", "label_map_mismatch")
    requests = [
        Request(f"r-{place}", row, {"label": str(label)})
        for place, (row, label) in enumerate(zip(rows, right, strict=True))
    ]
    where = {"target": "../target.py:target", "remedy": "save the names with the model"}
    keep(replace(case, **where), requests, pytester.path / "cases")
    keep(
        replace(case, id="inc-2", asked=Asked.NOTHING, why="it lay in how the server ran", **where),
        [],
        pytester.path / "cases",
    )
    return pytester.path


@pytest.fixture
def run(pytester):
    """A function that runs pytest over the cases: its exit code, and what it said."""

    def start():
        ended = pytester.runpytest_inprocess("-q", "-rs", "-p", "no:cacheprovider", "--firstfault", "cases")
        return ended.ret, ended.stdout.str() + ended.stderr.str()

    return start


def test_a_case_is_red_before_the_repair_and_green_after(folder, run):
    """The message has the share, the requests and the remedy; what no request shows is skipped with its reason."""
    write_target(folder, names="['plus', 'basic']")
    code, said = run()
    assert code == 1, said
    assert "inc-1 (deployment: label_map_mismatch): 0 of 100 requests are answered rightly" in said
    assert "save the names with the model" in said and "it lay in how the server ran" in said
    write_target(folder)
    code, said = run()
    assert code == 0 and "1 passed, 1 skipped" in said, said


def test_a_case_that_cannot_be_read_is_a_wrong_call(folder, run):
    """One sentence with the file, and pytest's exit code for a usage error."""
    (folder / "cases" / "inc-1" / "case.json").write_text(json.dumps({"id": 1}))
    code, said = run()
    assert code == 4 and "must be a case that firstfault kept" in said
