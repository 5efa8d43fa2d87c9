"""A run is opened in another process by its reference: with its trained model, or with a sentence about its lack."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from firstfault.errors import FirstfaultError, Missing
from firstfault.runs.ref import RunRef
from firstfault.subject.opening import open_subject

TARGET = """
import os
import numpy as np
from torch import nn
from firstfault import Data, Target, Training

rng = np.random.default_rng(0)
X = rng.normal(size=(200, 4)).astype("float32")

def loss(outputs, y):
    assert "NO_TRAINING" not in os.environ, "it is trained again"
    return nn.functional.cross_entropy(outputs, y)

target = Target(
    name="small", data=Data(train=(X, (X[:, 0] > 0).astype(int))), model=lambda: nn.Linear(4, 2),
    training=Training(loss=loss, epochs=2),
)
"""
OPEN = """
import json, sys
from pathlib import Path
import torch
from firstfault.runs.ref import RunRef
from firstfault.subject.opening import open_subject

subject = open_subject(RunRef.of(Path(sys.argv[1])))
trained = subject.trained
kept = torch.load(Path(sys.argv[1]) / "trained.pt")
same = all(torch.equal(kept[name], value) for name, value in trained.model.state_dict().items())
found = {"same": same, "score": trained.score, "epochs": len(trained.epochs), "rows": len(subject.raw.train.y)}
print(json.dumps(found))
"""


def call(folder, *command, **more):
    """Run Python in a folder, without what other tests set; its output."""
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "MLFLOW_", "FIRSTFAULT_"))
    }
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=folder, env=kept | more, capture_output=True, text=True, timeout=300
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout, done.stderr


def run_of(folder, layer):
    """The folder of a debug run of that target, of which one layer was examined."""
    (folder / "target.py").write_text(TARGET)
    call(folder, "-m", "firstfault", "debug", "target.py", "--only", layer, "--depth", "quick")
    [run] = (folder / ".firstfault" / "runs").iterdir()
    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a run that has trained."""
    return run_of(tmp_path_factory.mktemp("trained"), "training")


def test_a_fresh_process_gets_the_trained_model(trained):
    """The weights and the curve of the run, without a step of training."""
    said, error = call(trained.parent, "-c", OPEN, trained, NO_TRAINING="1")
    found = json.loads(said or json.dumps(error))
    assert found["same"] and found["epochs"] == 2 and found["rows"] == 128
    assert found["score"] == json.loads((trained / "trained.json").read_text())["epochs"][-1]["validation_metric"]


def test_a_debug_run_leaves_its_log(trained):
    """What it examined, and its verdict, as lines with its id."""
    lines = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert {line["labels"]["run_id"] for line in lines} == {trained.name}
    events = [line["event.action"] for line in lines if line["event.action"] != "finding"]
    assert (events[:2], events[-1]) == (["run_opened", "layer_started"], "verdict")


def test_weights_that_do_not_fit_are_said(trained):
    """Where the target builds another network by now."""
    file = Path(RunRef.of(trained).target.rpartition(":")[0])
    file.write_text(TARGET.replace("nn.Linear(4, 2)", "nn.Sequential(nn.Linear(4, 2))"))
    with pytest.raises(
        FirstfaultError, match=r"trained.pt must hold the weights of the network that the target builds"
    ):
        _ = open_subject(RunRef.of(trained)).trained
    file.write_text(TARGET)


def test_a_run_that_trained_nothing_says_so(tmp_path):
    """Its data are there, its trained model is missing, and nothing is trained instead."""
    subject = open_subject(RunRef.of(run_of(tmp_path, "preprocessing")))
    assert len(subject.raw.train.y) == 128
    with pytest.raises(Missing, match="ended without a trained model that it could keep"):
        _ = subject.trained


def test_a_folder_of_no_run_is_a_bad_call(tmp_path):
    """One sentence names it."""
    with pytest.raises(FirstfaultError, match="must be the folder of a run of `debug` or `sweep`"):
        RunRef.of(tmp_path)
