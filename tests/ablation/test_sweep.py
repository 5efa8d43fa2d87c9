"""Ablation sweeps: the table, its resumption after a kill, and the picture."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from functools import partial

import pytest
import torch
from optuna.storages import InMemoryStorage
from torch import nn

from firstfault.ablation.plot import plot_sweep
from firstfault.ablation.sweep import FACTORS, sweep
from firstfault.errors import TargetError

FEW = ["higher_rate", "lower_rate", "batches_of_32"]


def row_of(result, factor):
    return next(row for row in result.rows if row.factor == factor)


def test_a_healthy_target_has_nothing_to_gain(subject_of):
    """No change is better than a healthy target; the ones that do not apply say why."""
    result = sweep(subject_of(), storage=InMemoryStorage(), study_name="healthy")
    assert result.rows[0].factor == "baseline"
    assert {row.factor for row in result.rows} == {"baseline", *FACTORS}
    assert not [row.change for row in result.rows if row.verdict == "better"] and result.best == "unchanged"
    skipped = row_of(result, "batches_of_32")
    assert (skipped.verdict, skipped.reason) == ("skipped", "the batch size is 32 already")


def test_the_planted_fault_stands_out(subject_of):
    """Ten times the rate repairs a rate that is too low; a tenth of it does not."""
    result = sweep(subject_of(lr=3e-4), factors=FEW, storage=InMemoryStorage(), study_name="low")
    assert row_of(result, "higher_rate").verdict == "better" and result.best == "learning rate × 10"
    assert row_of(result, "higher_rate").p_value < 0.05
    assert row_of(result, "lower_rate").verdict in ("worse", "within noise")


def test_rows_are_means_over_the_seeds(subject_of):
    """Mean, deviation and difference are those of the scores in the table."""
    result = sweep(subject_of(lr=3e-4), factors=FEW[:1], storage=InMemoryStorage(), study_name="means")
    row, base = row_of(result, "higher_rate"), result.baseline
    assert row.seeds == base.seeds == 3
    assert row.mean == pytest.approx(sum(row.scores) / 3)
    assert row.difference == pytest.approx(row.mean - base.mean)
    assert row.std == pytest.approx(torch.tensor(row.scores, dtype=torch.float64).std().item())
    assert result.noise >= base.std


def test_a_training_that_fails_counts_as_guessing(subject_of):
    """An unchanged target that ends in NaN has a score, and the row says that it failed."""
    subject = subject_of(optimizer=partial(torch.optim.SGD, lr=float("inf")))
    result = sweep(subject, factors=["adam"], storage=InMemoryStorage(), study_name="nan")
    assert "3 of 3 trainings failed" in result.baseline.reason
    assert 0.2 < result.baseline.mean < 0.6
    assert row_of(result, "adam").verdict == "better"


def test_a_changed_metric_is_paired_with_its_own_baseline(subject_of):
    """Balanced classes are judged by balanced accuracy on both sides."""
    result = sweep(
        subject_of(), factors=["balanced"], storage=InMemoryStorage(), study_name="balanced", seeds=2
    )
    row = row_of(result, "balanced")
    assert row.verdict == "within noise" and abs(row.difference) < 0.1


def test_a_stopped_sweep_goes_on_where_it_was(subject_of):
    """Trainings that have ended are not run again, and the table is the one of an uninterrupted sweep."""
    trials = []
    first = sweep(subject_of(folder="one"), factors=FEW, n_trials=4, on_trial=trials.append)
    assert len(trials) == 4 and row_of(first, "higher_rate").verdict == "pending"
    second = sweep(subject_of(folder="two"), factors=FEW, on_trial=trials.append)
    assert len(trials) == 9 and len({(trial.factor, trial.seed) for trial in trials}) == 9
    whole = sweep(subject_of(folder="three"), factors=FEW, storage=InMemoryStorage(), study_name="whole")
    assert second.rows == whole.rows


def test_another_target_does_not_take_over_old_results(subject_of):
    """The default study depends on the settings, so that a changed target is measured anew."""
    trials = []
    sweep(subject_of(folder="one"), factors=FEW[:1], seeds=2, on_trial=trials.append)
    sweep(subject_of(folder="two", lr=1e-3), factors=FEW[:1], seeds=2, on_trial=trials.append)
    assert len(trials) == 8


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {folder!r})
from firstfault.ablation.sweep import sweep
from firstfault.subject import Subject
from firstfault.target import load_target
steps = 0

def die_in_the_third(trial):
    global steps
    steps += 1
    if steps == 3 and {kill}:
        os.kill(os.getpid(), signal.SIGKILL)
    print(trial.factor, trial.seed, flush=True)

subject = Subject(load_target({target!r}), Path({folder!r}) / "run")
result = sweep(subject, factors={factors!r}, on_trial=die_in_the_third)
print("rows", [row.verdict for row in result.rows])
"""

TARGET = """
from functools import partial
import numpy as np, torch
from torch import nn
from firstfault import Data, Target, Training

random = np.random.default_rng(0)
y = random.integers(0, 2, 300)
X = (random.normal(size=(300, 4)) + 2 * y[:, None]).astype("float32")
target = Target(
    "killed", data=Data(train=(X, y)), model=lambda: nn.Linear(4, 2),
    training=Training(optimizer=partial(torch.optim.Adam, lr=1e-2), epochs=2),
)
"""


def test_a_sweep_killed_in_a_training_resumes(tmp_path):
    """After kill -9 in a training, the next sweep repeats only that one, even past a torn journal line."""
    (tmp_path / "target.py").write_text(TARGET)
    journal = tmp_path / "state" / "optuna.journal"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def run(kill):
        place = {"folder": str(tmp_path), "target": str(tmp_path / "target.py")}
        code = KILLED.format(**place, factors=FEW[:2], kill=kill)
        command = [sys.executable, "-c", code]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    killed = run(True)
    assert killed.returncode == -signal.SIGKILL
    with journal.open("a") as file:
        file.write('{"op_code": 4, "wor')
    resumed = run(False)
    assert resumed.returncode == 0, resumed.stderr
    first, second = killed.stdout.split("\n")[:-1], resumed.stdout.split("\n")[:-1]
    assert len(first) == 2 and len(second) == 8
    assert not set(first) & set(second)
    assert "pending" not in second[-1]


def test_threads_give_a_whole_table(subject_of):
    """Two trainings side by side leave no pair out."""
    result = sweep(
        subject_of(epochs=2), factors=FEW, jobs=2, seeds=2, storage=InMemoryStorage(), study_name="two"
    )
    assert all(row.seeds == 2 for row in result.rows if row.verdict != "skipped")


def test_the_table_is_plain_json(subject_of):
    """The result and its rows go to JSON, also where numbers are absent."""
    result = sweep(subject_of(epochs=1), factors=FEW, seeds=2, storage=InMemoryStorage(), study_name="json")
    values = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert [row["factor"] for row in values["rows"]] == ["baseline", *FEW]
    assert len(values["scores"]["higher_rate"]) == 2


def test_the_picture_shows_a_sweep(subject_of, tmp_path):
    """The plot is a PNG of a useful size, also of a sweep that has only begun."""
    from matplotlib.image import imread

    for name, limit in (("whole", None), ("begun", 1)):
        result = sweep(
            subject_of(epochs=1), factors=FEW, seeds=2, n_trials=limit, study_name=name,
            storage=InMemoryStorage(),
        )
        height, width, _ = imread(plot_sweep(result, tmp_path)).shape
        assert height > 200 and width > 800


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"seeds": 1}, "seeds must be 2 to 32, but got 1"),
        ({"jobs": 0}, "jobs must be at least 1"),
        ({"engine": "ray"}, "engine must be one of threads"),
        ({"n_trials": 0}, "n_trials must be at least 1"),
    ],
)
def test_bad_arguments_are_refused(subject_of, settings, expected):
    """A bad call says what was expected and what came."""
    with pytest.raises(ValueError, match=expected):
        sweep(subject_of(), **settings)


def test_an_unknown_factor_is_refused(subject_of):
    """The sentence lists the factors there are."""
    with pytest.raises(TargetError, match=r"factors must be among .*adam.* but got magic"):
        sweep(subject_of(), factors=["magic"])


def test_a_target_without_a_model_is_refused(subject_of):
    """A sweep needs something to train."""
    with pytest.raises(TargetError, match="declares no model"):
        sweep(subject_of(model=None))


def test_a_study_of_other_seeds_is_not_mixed(subject_of):
    """A named study that was made for another first seed is refused in one sentence."""
    storage = InMemoryStorage()
    sweep(subject_of(epochs=1), factors=FEW[:1], seeds=2, storage=storage, study_name="mine")
    with pytest.raises(TargetError, match="study_name must be new"):
        sweep(subject_of(epochs=1, seed=5), factors=FEW[:1], seeds=2, storage=storage, study_name="mine")


def test_a_model_of_saturating_units_is_changed_to_relu(subject_of):
    """The ReLU factor applies where hidden units saturate."""
    model = lambda: nn.Sequential(nn.Linear(8, 16), nn.Sigmoid(), nn.Linear(16, 3))  # noqa: E731
    result = sweep(
        subject_of(model=model, epochs=1), factors=["relu_for_saturating"], seeds=2,
        storage=InMemoryStorage(), study_name="relu",
    )
    assert row_of(result, "relu_for_saturating").seeds == 2
