"""The state folder is found as a .git is, and its environment yields to the user's."""

import os
import stat

import pytest

from firstfault.errors import FirstfaultError
from firstfault.runs.state import State, configure_environment, state_for, state_here


@pytest.fixture(autouse=True)
def no_override(monkeypatch):
    """Start without firstfault's own variables."""
    for name in ("FIRSTFAULT_HOME", "MLFLOW_TRACKING_URI", "PREFECT_HOME"):
        monkeypatch.delenv(name, raising=False)


def test_a_folder_without_a_state_above_has_its_own(tmp_path):
    """It is made where the command is called."""
    assert state_for(tmp_path / "a").home == tmp_path / "a" / ".firstfault"


def test_folders_below_share_the_state_above(tmp_path):
    """A state folder in a parent folder serves every folder below."""
    (tmp_path / ".firstfault").mkdir()
    assert state_for(tmp_path / "examples" / "a").home == tmp_path / ".firstfault"


def test_the_working_folder_decides(tmp_path, monkeypatch):
    """Every command, sink and sweep uses the state of the folder in which it is called."""
    monkeypatch.chdir(tmp_path)
    assert state_here().home == tmp_path / ".firstfault"


def test_the_variable_wins(tmp_path, monkeypatch):
    """FIRSTFAULT_HOME overrides the search."""
    monkeypatch.setenv("FIRSTFAULT_HOME", str(tmp_path / "elsewhere"))
    assert state_for(tmp_path).home == tmp_path / "elsewhere"


def test_the_users_mlflow_is_kept(tmp_path, monkeypatch):
    """A tracking URI that is set is not replaced."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5999")
    saved = dict(os.environ)
    try:
        configure_environment(State(tmp_path))
        assert os.environ["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:5999"
        assert os.environ["PREFECT_HOME"] == str(tmp_path / "prefect")
    finally:
        os.environ.clear()
        os.environ.update(saved)


def test_runs_have_folders_of_their_own_and_stay_out_of_git(tmp_path):
    """Two runs in one second don't collide, and the state ignores itself."""
    state = State(tmp_path / ".firstfault")
    assert state.new_run() != state.new_run()
    assert (state.home / ".gitignore").read_text() == "*\n"


@pytest.mark.parametrize("mode", [None, 0o755, 0o777])
def test_the_state_is_closed_to_other_users(tmp_path, mode):
    """A new folder, and one that was open so far, whatever the umask is; so are a run's folder and MLflow's store."""
    state, before = State(tmp_path / ".firstfault"), os.umask(0)
    try:
        if mode is not None:
            state.home.mkdir()
            state.home.chmod(mode)
        folder = state.new_run()
    finally:
        os.umask(before)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (state.home, folder, state.home / "mlflow.db")]
    assert modes == [0o700, 0o700, 0o600]


def test_a_state_that_cannot_be_written_is_one_sentence(tmp_path):
    """A file in the way gives a clear error."""
    (tmp_path / "file").write_text("")
    with pytest.raises(FirstfaultError, match="must be writable"):
        State(tmp_path / "file").new_run()
