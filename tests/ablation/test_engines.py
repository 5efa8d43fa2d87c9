"""Where the trainings of a sweep run: the same scores in threads, in processes and on Ray; a process that dies."""

from __future__ import annotations

import pytest

from firstfault.ablation.confirm.trials import BASELINE
from firstfault.ablation.sweeps.engine import Host, Origin, threads_for
from firstfault.ablation.sweeps.job import Job, digest
from firstfault.ablation.sweeps.sweep import sweep
from firstfault.ablation.sweeps.workers import Processes
from firstfault.errors import FirstfaultError
from firstfault.runs.ref import RunRef
from firstfault.subject.opening import open_subject

TARGET = """
import multiprocessing, os
from functools import partial
import numpy as np, torch
from torch import nn
from firstfault import Data, Target, Training

random = np.random.default_rng(0)
y = random.integers(0, 3, 300)
X = (random.normal(size=(300, 4)) + random.normal(size=(3, 4))[y]).astype("float32")

def build(hidden=8):
    if hidden == 13 and torch.initial_seed() == 0 and multiprocessing.parent_process() is not None:
        os._exit(9)
    return nn.Sequential(nn.Linear(4, hidden), nn.ReLU(), nn.Dropout(0.2), nn.Linear(hidden, 3))

target = Target(
    "small",
    data=Data(train=(X, y)),
    model=build,
    training=Training(optimizer=partial(torch.optim.Adam, lr=1e-2), epochs=2),
)
"""


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A function that sweeps a target's file with an engine."""
    folder = tmp_path_factory.mktemp("swept")
    (folder / "target.py").write_text(TARGET)

    def run(**settings):
        origin = RunRef(f"{folder}/target.py:target", str(tmp_path_factory.mktemp("run")), str(folder / "state"))
        subject = open_subject(origin)
        return sweep(subject, seeds=2, storage=folder / "optuna.journal", origin=origin, **settings)

    run.target = f"{folder}/target.py:target"
    return run


@pytest.fixture(scope="module")
def in_processes(swept):
    """A grid in two processes, one training of which ends its process."""
    return swept(grid="model.hidden=4,13", engine="processes", jobs=2)


def test_processes_give_the_scores_of_threads(swept, in_processes):
    """Each training seeds itself."""
    alone = swept(grid="model.hidden=4", engine="threads")
    assert in_processes.rows[:2] == alone.rows and in_processes.left == 0


def test_a_process_that_dies_is_a_failed_training(in_processes):
    """Exit, a crash of the interpreter, out of memory: it counts as guessing, and the sweep goes on."""
    row = next(row for row in in_processes.rows if row.change == "model.hidden 13")
    assert row.reason == "1 of 2 trainings failed, and count as guessing" and row.verdict != "better"
    assert sorted(trial.state for trial in in_processes.trials) == ["complete"] * 5 + ["failed"]


def test_processes_search_and_prune_in_the_shared_study(swept, in_processes):
    """Every training of the search has told its epochs; the comparison is whole."""
    result = swept(tune="lr=1e-4..1e-1", n_trials=4, engine="processes")
    assert [len(trial.epochs) for trial in result.searched] == [2] * 4 and all(row.seeds == 2 for row in result.rows)


def test_ray_gives_the_scores_of_threads(swept, in_processes):
    """On a Ray of this machine that is stopped in the end."""
    ray = pytest.importorskip("ray", reason="the extra [ray] is not installed")
    result = swept(grid="model.hidden=4", engine="ray", jobs=2)
    assert result.rows == in_processes.rows[:2] and not ray.is_initialized()


def test_a_process_that_loads_other_data_refuses(swept, tmp_path, monkeypatch):
    """A target whose data are drawn anew each time can't be trained in several processes."""
    monkeypatch.setenv("FIRSTFAULT_HOME", str(tmp_path))
    run = RunRef(swept.target, str(tmp_path / "run"), str(tmp_path))
    subject = open_subject(run)
    known = digest(subject.recipe)
    assert Host(Origin(run, known), 1).open()[0] == "ready"
    word, sentence = Host(Origin(run, "other"), 1).open()
    assert word == "refused" and "every process must load the same data" in sentence


def test_a_target_that_processes_cannot_load_is_one_sentence(swept, tmp_path):
    """The file went away between the parent and its workers."""
    word, sentence = Host(Origin(RunRef(str(tmp_path / "gone.py"), str(tmp_path), str(tmp_path)), ""), 1).open()
    assert word == "refused" and "there is no target file" in sentence


def test_processes_need_to_know_the_target(subject_of):
    """A subject alone can't be handed to another process."""
    with pytest.raises((ValueError, FirstfaultError), match="hand over `origin`"):
        sweep(subject_of(), factors=["adam"], engine="processes", jobs=2)


def test_workers_share_the_cores():
    """Each has at least one thread."""
    assert threads_for(1) >= threads_for(2) >= threads_for(1000) == 1


LOADER = """
from torch.utils.data import DataLoader, TensorDataset

def loader(x, y, split):
    return DataLoader(TensorDataset(x, y), batch_size=300, num_workers=1)

target = Target(
    "loaded", data=Data(train=(X, y)), model=build,
    training=Training(optimizer=partial(torch.optim.Adam, lr=1e-2), epochs=1, loader=loader),
)
"""


def test_a_process_may_start_the_workers_of_a_loader(tmp_path):
    """A training in a process of its own may start processes too."""
    (tmp_path / "target.py").write_text(TARGET + LOADER)
    origin = RunRef(f"{tmp_path}/target.py:target", str(tmp_path / "run"), str(tmp_path / "state"))
    with Processes(Origin(origin, digest(open_subject(origin).recipe)), 1) as engine:
        engine.begin(Job(0, BASELINE, "unchanged", 0))
        [(_, measured)] = engine.ended()
    assert measured is not None and measured.finite
