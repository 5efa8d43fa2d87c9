"""The MLflow run tree, on a real SQLite store."""

import contextlib
import sqlite3
import subprocess
import sys

import pytest

from firstfault.errors import PrerequisiteError
from firstfault.runs.state import State
from firstfault.tracking.new_store import _appear, make_store
from firstfault.tracking.runs import bury_killed
from firstfault.tracking.store import open_tracker


@pytest.fixture
def state(tmp_path, monkeypatch):
    """A state folder with nothing in it."""
    for name in ("MLFLOW_TRACKING_URI", "FIRSTFAULT_HOME"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / ".firstfault"
    home.mkdir()
    return State(home)


def test_a_run_tree_with_metrics_tags_files_and_data(state, tmp_path):
    """Parent, child, curve, tag, artifact and data set are all readable afterwards."""
    tracker = open_tracker(state, "churn")
    parent = tracker.start("debug", tags={"firstfault.status": "running"})
    child = tracker.start("data", parent)
    tracker.series(child, {"loss": [(0, 1.0), (1, 0.5), (2, float("nan"))]})
    tracker.params(child, {"depth": "quick"})
    (tmp_path / "v.json").write_text("{}")
    tracker.files(parent, [tmp_path / "v.json", tmp_path / "absent.json"])
    tracker.dataset(parent, "train", "abc", "train.csv", 10, "train")
    tracker.end(child)
    tracker.end(parent)
    client = tracker.client
    assert client.get_run(child).data.tags["mlflow.parentRunId"] == parent
    assert [point.value for point in client.get_metric_history(child, "loss")] == [1.0, 0.5]
    assert [item.path for item in client.list_artifacts(parent)] == ["v.json"]
    assert client.get_run(parent).inputs.dataset_inputs[0].dataset.digest == "abc"
    assert client.get_run(parent).info.status == "FINISHED"


def test_the_experiment_is_found_again(state):
    """A second run of a target goes to the same experiment, in the store that the first has made, and nothing else."""
    assert open_tracker(state, "churn").experiment_id == open_tracker(state, "churn").experiment_id
    assert [path.name for path in state.home.iterdir()] == ["mlflow.db"]


def test_a_new_store_appears_whole_and_never_in_place_of_another(tmp_path):
    """It has MLflow's tables; a file that is there stays, as does one that came to be meanwhile."""
    path = tmp_path / "new" / "mlflow.db"
    make_store(f"sqlite:///{path}")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        made = connection.execute("select count(*) from alembic_version").fetchone()
    path.write_text("another's")
    make_store(f"sqlite:///{path}")
    with pytest.raises(FileExistsError):
        _appear(path, path)
    assert made == (1,) and path.read_text() == "another's" and len(list(path.parent.iterdir())) == 1


def test_a_killed_run_is_shown_as_such(state):
    """A run whose process died is marked KILLED by the next run; a living one is left alone."""
    code = (
        "import os; from pathlib import Path; from firstfault.runs.state import State; "
        "from firstfault.tracking.store import open_tracker; "
        f"print(open_tracker(State(Path({str(state.home)!r})), 'churn').start('debug'), flush=True); "
        "os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    killed = done.stdout.strip().splitlines()[-1]
    tracker = open_tracker(state, "churn")
    alive = tracker.start("debug")
    assert bury_killed(tracker) == [killed]
    assert tracker.client.get_run(killed).info.status == "KILLED"
    assert tracker.client.get_run(alive).info.status == "RUNNING"


def test_a_dead_server_is_one_sentence(state, monkeypatch):
    """A tracking URI that nobody answers names the variable to change."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(PrerequisiteError, match="MLFLOW_TRACKING_URI"):
        open_tracker(state, "churn")


def test_a_store_that_breaks_midway_does_not_end_the_run(state, caplog):
    """Recording stops with one warning; nothing is raised."""
    tracker = open_tracker(state, "churn")
    tracker.metrics("no-such-run", {"loss": 1.0})
    tracker.metrics("no-such-run", {"loss": 2.0})
    assert not tracker.alive
    assert len([record for record in caplog.records if "no longer answers" in record.getMessage()]) == 1
