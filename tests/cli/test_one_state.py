"""Commands called in one folder share one state folder, wherever the target lies."""

from command_line import run_in

from firstfault.runs.default_target import default_target
from firstfault.runs.state import State


def call(folder, *arguments):
    """What the command line prints in a folder, where it succeeds."""
    done = run_in(folder, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_init_debug_status_and_report_mean_one_state(tmp_path):
    """A target in a folder below is recorded where the commands are called, and where `up` serves it."""
    state = tmp_path / ".firstfault"
    call(tmp_path, "init", "my_model")
    call(tmp_path, "debug", "my_model/target.py", "--depth", "quick", "--only", "preprocessing")
    assert call(tmp_path, "status").splitlines()[0].split() == ["state", str(state)]
    assert str(state / "runs") in call(tmp_path, "report")
    assert str(state / "runs") in call(tmp_path / "my_model", "report")
    assert list(tmp_path.rglob(".firstfault")) == [state]
    assert default_target(State(state)) == f"{tmp_path / 'my_model' / 'target.py'}:target"
