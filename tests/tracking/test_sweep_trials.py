"""The MLflow runs of a sweep's trials: one each, below the sweep's own run."""

from __future__ import annotations

import math

import pytest

from firstfault.ablation.sweeps.job import SweepTrial
from firstfault.recording.recording import Recording
from firstfault.recording.trials import Trials
from firstfault.runs.ref import RunRef
from firstfault.subject.opening import open_subject

TARGET = "from firstfault import Target\ntarget = Target('swept')\n"


@pytest.fixture
def run(tmp_path):
    """A run with a store of its own."""
    (tmp_path / "target.py").write_text(TARGET)
    return RunRef(str(tmp_path / "target.py"), str(tmp_path / "run"), str(tmp_path / "state"))


def trial(number, state="complete", score=0.9, **more):
    return SweepTrial(f"f{number}", f"change {number}", number, score, 1.0 + number, {"lr": 0.1}, number, state, **more)


def test_every_trial_is_a_run_with_parameters_scores_seed_and_state(run, monkeypatch):
    """Those of the sweep that is resumed too, once; a failed one is FAILED, a pruned one has its epochs."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    subject = open_subject(run)
    recording = Recording(run, subject, "sweep", None)
    with Trials(recording, "sweep") as parent:
        parent.log(trial(0))
        parent.log(trial(1, "failed", math.nan))
        for ended in (
            trial(0),
            trial(1, "failed", math.nan),
            trial(2, "pruned", 0.5, values={"model.hidden": 4}, epochs=(0.4, 0.5)),
        ):
            parent.log_earlier(ended)
    tracker = recording.tracker
    below = tracker.client.search_runs([tracker.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.run_id}'")
    found = {entry.data.params["seed"]: entry for entry in below}
    assert len(below) == 3 and [found[seed].info.status for seed in "012"] == ["FINISHED", "FAILED", "FINISHED"]
    assert [found[seed].data.tags["firstfault.trial"] for seed in "012"] == ["complete", "failed", "pruned"]
    assert [("firstfault.resumed" in found[seed].data.tags) for seed in "012"] == [False, False, True]
    assert (
        found["2"].data.params.items()
        >= {"factor": "f2", "change": "change 2", "lr": "0.1", "model.hidden": "4"}.items()
    )
    curve = tracker.client.get_metric_history(found["2"].info.run_id, "score_after_epoch")
    assert [(point.step, point.value) for point in curve] == [(1, 0.4), (2, 0.5)]
    assert found["0"].data.metrics == {"score": 0.9, "seconds": 1.0}
    assert tracker.client.get_run(parent.run_id).info.status == "FINISHED"
