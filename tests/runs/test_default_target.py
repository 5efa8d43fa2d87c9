"""The target that the deployments start with is there, whatever was called before."""

import pytest

from firstfault.runs.default_target import default_target, note_target, starter
from firstfault.runs.state import State
from firstfault.target.loader import load_target


@pytest.fixture
def state(tmp_path):
    """A state folder with nothing in it."""
    return State(tmp_path / ".firstfault")


def test_it_is_the_target_that_was_named_last(state, tmp_path):
    """By `init`, `debug` or `sweep`; not one that is gone."""
    files = [tmp_path / "first.py", tmp_path / "second.py"]
    for file in files:
        file.touch()
        note_target(state, f"{file}:mine")
    assert default_target(state) == f"{files[1]}:mine"
    files[1].unlink()
    assert default_target(state) != f"{files[1]}:mine"


def test_a_module_is_a_target_too(state):
    """It is named as it was given."""
    note_target(state, "team.churn:target")
    assert default_target(state) == "team.churn:target"


def test_without_a_name_it_is_the_one_beside_the_state(state, tmp_path):
    """As a project that was made by hand has it."""
    state.make()
    (tmp_path / "target.py").write_text(starter())
    assert default_target(state) == f"{tmp_path / 'target.py'}:target"


def test_where_there_is_none_it_is_an_example_that_loads(state):
    """So that a flow can be started from the UI at once."""
    state.make()
    assert load_target(default_target(state)).name == "starter"
