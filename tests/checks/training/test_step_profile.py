"""The profile of a step: its phases, what limits it, and the files that stay."""

import csv
import gzip
import json
import time

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from firstfault import Training
from firstfault.check import Depth
from firstfault.checks.training import _profiled_steps as profiled_steps
from firstfault.checks.training._profiled_steps import PHASES, Operator, Profiled, profile
from firstfault.checks.training.step_profile import limit
from firstfault.finding import Status

CHECK = "profiled_input_bottleneck"


class Decoding(Dataset):
    """Samples that take their time."""

    def __init__(self, x, y, rounds):
        self.x, self.y, self.rounds = x, y, rounds

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        for _ in range(self.rounds):
            self.x[index].sort()
        return self.x[index], self.y[index]


def loader(rounds):
    """A loader that sorts each sample so many times."""
    return lambda x, y, split: DataLoader(Decoding(x, y, rounds), 32, shuffle=split == "train")


def wide():
    """A network whose products take longer than anything else."""
    return nn.Sequential(
        nn.Flatten(), nn.LazyLinear(512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)
    )


def own_loop(model, train_loader, validation_loader):
    """A loop of the user's own."""
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(2):
        for x, y in train_loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()


def test_a_loader_that_starves_the_model_is_a_warning(make, only, mlp):
    """Most of the step is loading, and the sentence says so."""
    finding = only(CHECK, make("digits", model=mlp, training=Training(epochs=1, loader=loader(50))), whole=1e9)
    assert finding.status is Status.WARN and finding.faults == {"input_bottleneck": 0.4}
    assert finding.value > 0.5 and "waits for the loader" in finding.message


def test_a_loader_that_starves_a_long_training_is_a_fault(make, only, mlp):
    """Where nearly all of the time is lost, and more than a moment: here a moment is made no time at all."""
    subject = make("digits", model=mlp, training=Training(epochs=1, loader=loader(50)))
    subject.depth = Depth.DEEP  # however busy the machine is, the steps are timed
    finding = only(CHECK, subject, whole=0.0)
    assert finding.status is Status.FAIL and finding.faults == {"input_bottleneck": 0.6}


def test_slow_augmentation_counts_as_data(make, only, mlp):
    """Augmenting in the loop starves the model as a loader does."""

    def augment(x):
        for _ in range(400):
            x = x.sort()[0]
        return x

    assert (
        only(CHECK, make("digits", model=mlp, training=Training(epochs=1, augment=augment)), whole=1e9).status
        is Status.WARN
    )


@pytest.mark.parametrize(
    "settings",
    [{}, {"loader": loader(0)}, {"fit": own_loop}, {"augment": lambda x: x + 1}],
    ids=["plain", "loader", "fit", "augment"],
)
@pytest.mark.parametrize("data", ["digits", "images"])
def test_a_model_that_works_more_than_it_waits_passes(make, only, data, settings):
    """Whoever makes the batches, and whoever runs the loop."""
    subject = make(data, model=wide, training=Training(epochs=1, batch_size=16, **settings))
    finding = only(CHECK, subject)
    assert finding.status is Status.PASS and not finding.faults


def test_phases_operators_and_trace_are_files_of_the_run(make, only):
    """Shares add up to one, the trace is JSON with the phases in it."""
    subject = make("digits", model=wide, training=Training(epochs=1))
    finding = only(CHECK, subject)
    assert set(finding.artifacts) == {"step_phases.csv", "step_operators.csv", "trace.json"}
    rows = list(csv.DictReader((subject.folder / "step_phases.csv").open()))
    assert {row["phase"] for row in rows} >= {"loading", "forward", "backward", "optimizer"}
    assert sum(float(row["share"].rstrip("%")) for row in rows) == pytest.approx(100, abs=0.5)
    names = {event.get("name") for event in json.loads((subject.folder / "trace.json").read_text())["traceEvents"]}
    assert {"forward", "backward", "optimizer", "aten::addmm"} <= names


def test_a_large_trace_is_packed(make, only, monkeypatch):
    """Above the limit it is written compressed."""
    subject = make("digits", model=wide, training=Training(epochs=1))
    monkeypatch.setattr(profiled_steps, "MOST_BYTES", 150_000)
    assert "trace.json.gz" in only(CHECK, subject).artifacts
    assert json.loads(gzip.decompress((subject.folder / "trace.json.gz").read_bytes()))["traceEvents"]


def test_a_training_of_two_steps_is_not_profiled(make, only, mlp):
    """There is nothing left after the warm-up."""
    assert only(CHECK, make("iris", model=mlp, training=Training(epochs=1, batch_size=96))).status is Status.SKIPPED


def test_the_profile_agrees_with_the_clock(make):
    """The phases of a step add up to the time that a step takes."""
    subject = make("digits", model=wide, training=Training(epochs=1))
    began = time.perf_counter()
    found = profile(subject.recipe, 0, subject.folder)
    assert 0 < found.whole * 8 < time.perf_counter() - began
    assert sum(found.share(phase) for phase in PHASES) == pytest.approx(1)


def test_what_limits_a_step_is_said_in_a_sentence():
    """Data, overhead, or the longest phase with its dearest operator."""
    seconds = {"loading": 0.001, "forward": 0.004, "backward": 0.008}
    assert "waits for the loader" in limit(Profiled(seconds), starved=True)
    assert "larger batches" in limit(Profiled(seconds, busy=0.001))
    assert (
        limit(Profiled(seconds, [Operator("aten::mm", 3, 0.005)], 0.012))
        == "The backward limits it; the dearest operator is aten::mm with 5 ms"
    )
