"""What a debug run's training tells while it runs: checkpoints as logged models, safety at the step of its epoch."""

import torch

from firstfault.recording.recording import Recording
from firstfault.runs.ref import RunRef
from firstfault.subject.opening import open_subject
from firstfault.watcher.actions.target_monitor import train_acting

TARGET = """
from functools import partial
import torch
from sklearn.datasets import load_digits
from torch import nn
from firstfault import Data, Target, Training
target = Target("digits", data=Data(train=lambda: load_digits(return_X_y=True)), preprocess=lambda X: X / 16,
    model=lambda: nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)),
    training=Training(optimizer=partial(torch.optim.Adam, lr=1e-2), epochs=3))
"""


def test_every_good_epoch_is_a_logged_model_and_every_evaluation_a_point(tmp_path, monkeypatch):
    """With `--set safety.every=1`, models rank by their scores, and the run has one point per epoch."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "target.py").write_text(TARGET)
    run = RunRef(
        str(tmp_path / "target.py"),
        str(tmp_path / "run"),
        str(tmp_path / "home"),
        overrides={"safety.every": "1", "training.on_finding": "log"},
    )
    (tmp_path / "home").mkdir()
    subject = open_subject(run, trainer=train_acting)
    recording = Recording(run, subject, "debug", None)
    with recording.following_the_training():
        rows, model = subject.record.safety, subject.trained.model
    tracker = recording.tracker
    models = tracker.client.search_logged_models(
        [tracker.experiment_id], order_by=[{"field_name": "metrics.capability_score", "ascending": False}]
    )
    good = sorted((row for row in rows if row["epoch"]), key=lambda row: -row["capability_score"])
    assert [(kept.params["epoch"], kept.params["step"]) for kept in models] == [
        (str(row["epoch"]), str(row["step"])) for row in good
    ]
    assert {kept.name for kept in models} == {f"digits-epoch-{row['epoch']}" for row in good}
    for name in ("safety_score", "capability_score", "alignment_tax"):
        points = [(point.step, point.value) for point in tracker.client.get_metric_history(recording.run_id, name)]
        assert sorted(points) == [(row["epoch"], row[name]) for row in rows]
        assert {metric.key: metric.value for metric in models[0].metrics}[name] == good[0][name]
    last = next(kept for kept in models if kept.params["epoch"] == "3")
    kept = torch.load(f"{last.artifact_location.removeprefix('file://')}/weights.pt", weights_only=True)
    assert all(torch.equal(kept[name], value) for name, value in model.state_dict().items())
