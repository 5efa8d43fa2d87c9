"""What a run tells MLflow before its store is opened."""

import json

import pytest

from firstfault.runs.state import State
from firstfault.tracking.journal import NAME, Journal, record_killed
from firstfault.tracking.store import open_tracker

GONE = 2**22 + 1
"""The id of no process: Linux gives none above 2^22."""


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    """A state folder, whose store is made once."""
    state = State(tmp_path_factory.mktemp("journal") / ".firstfault")
    with pytest.MonkeyPatch.context() as unset:
        for name in ("MLFLOW_TRACKING_URI", "FIRSTFAULT_HOME"):
            unset.delenv(name, raising=False)
        state.make()
        yield state


def told(journal, folder):
    """A run with a layer that has ended, before another that has not."""
    (folder / "layer_1_data.json").write_text("{}")
    parent = journal.start("debug", tags={"firstfault.status": "running"})
    child = journal.start("data", parent)
    journal.metrics(child, {"seconds": 0.5})
    journal.files(child, [folder / "layer_1_data.json"])
    journal.end(child)
    return parent


def below(tracker, parent):
    """The runs below another."""
    return tracker.client.search_runs([tracker.experiment_id], f"tags.`mlflow.parentRunId` = '{parent}'")


def test_what_was_kept_is_told_when_the_store_is_opened(state):
    """The run tree, its numbers and its files are there, as of when they were told; later words are passed on."""
    folder = state.new_run()
    journal = Journal(folder / NAME, "kept")
    parent = told(journal, folder)
    tracker = open_tracker(state, "kept")
    run = journal.open(tracker, parent)
    journal.end(parent)
    [layer] = below(tracker, run)
    assert layer.info.end_time <= tracker.client.get_run(run).info.end_time
    assert layer.data.metrics == {"seconds": 0.5} and layer.info.status == "FINISHED"
    assert [item.path for item in tracker.client.list_artifacts(layer.info.run_id)] == ["layer_1_data.json"]
    assert tracker.client.get_run(run).info.status == "FINISHED" and not (folder / NAME).exists()


def test_a_run_that_was_killed_before_is_recorded_by_the_next(state):
    """It is shown as killed, with what it had told; one that still runs keeps its journal."""
    folder, running = state.new_run(), state.new_run()
    told(Journal(folder / NAME, "struck"), folder)
    told(Journal(running / NAME, "struck"), running)
    head, *lines = (folder / NAME).read_text().splitlines()
    (folder / NAME).write_text("\n".join([json.dumps({**json.loads(head), "pid": GONE}), *lines, '["torn']))
    assert record_killed(state) == [str(folder)]
    tracker = open_tracker(state, "struck")
    runs = tracker.client.search_runs([tracker.experiment_id], "tags.`firstfault.status` = 'killed'")
    assert [(run.info.run_name, run.info.status) for run in runs] == [("debug", "KILLED")]
    assert len(below(tracker, runs[0].info.run_id)) == 1 and (running / NAME).is_file()
