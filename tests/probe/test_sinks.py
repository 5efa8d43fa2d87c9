"""Sinks: what they are given, in which order, and that none of them can stop or change a training."""

import importlib.util
import json
import math
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import firstfault
from firstfault.errors import PrerequisiteError, TargetError
from firstfault.probe.samples import MOST, Samples, stride
from firstfault.probe.sinks import base as probe_sinks
from firstfault.probe.sinks.registry import sinks_named
from firstfault.runs.state import State
from firstfault.sinks import JsonLines, MLflow, TensorBoard
from firstfault.tracking.store import open_tracker
from firstfault.watcher.script import run_script


class Attending(nn.Module):
    """A small transformer encoder."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 16)
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 1, enable_nested_tensor=False
        )
        self.head = nn.Linear(16, 2)

    def forward(self, tokens):
        return self.head(self.encoder(self.embed(tokens))[:, 0])


def train(steps=40, rate=0.05, after=lambda step: None):
    """The weights of a transformer after some steps on a fixed seed."""
    torch.manual_seed(0)
    model, tokens = Attending(), torch.randint(0, 20, (32, 7))
    optimizer = torch.optim.SGD(model.parameters(), rate)
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(tokens), (tokens[:, 0] > 9).long()).backward()
        optimizer.step()
        after(step)
    return list(model.parameters())


SAMPLED = [1, 2, 3, 4, 5, 10, 20, 30, 40]


class Keeping:
    """Keeps what it was called with."""

    def __init__(self, wants_samples=False):
        self.wants_samples, self.begun, self.failed, self.closed = wants_samples, None, "", False
        self.seen = []

    def begin(self, name, folder):
        self.begun = name, folder

    def write(self, step, values):
        self.seen.append((step, values))

    def fail(self, reason):
        self.failed = reason

    def close(self):
        self.closed = True


class Hanging(Keeping):
    """Never comes back from its first write."""

    def write(self, step, values):
        threading.Event().wait()


class Raising(Keeping):
    """Raises from its third write on."""

    def write(self, step, values):
        super().write(step, values)
        if len(self.seen) >= 3:
            raise OSError("disk full")


class Waiting(Keeping):
    """Takes nothing before it is allowed to."""

    def __init__(self):
        super().__init__()
        self.allowed = threading.Event()

    def write(self, step, values):
        self.allowed.wait()
        super().write(step, values)


@pytest.fixture
def impatient(monkeypatch):
    """Sinks are waited for only briefly."""
    monkeypatch.setattr(probe_sinks, "SECONDS_IDLE", 1.0)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A state folder of its own, and no store elsewhere."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("FIRSTFAULT_HOME", str(tmp_path / ".firstfault"))
    return tmp_path


def test_each_sink_gets_every_sampled_step_in_order(tmp_path):
    """Two sinks see the same steps, and the numbers of loss, gradients, weights, updates, activations and attention."""
    first, second = Keeping(), Keeping()
    with firstfault.watch("encoder", folder=tmp_path, sinks=[first, second]) as watched:
        train()
    assert [step for step, _ in first.seen] == [step for step, _ in second.seen] == SAMPLED
    assert first.begun == ("encoder", tmp_path) and first.closed and not first.failed and not watched.record.passed_over
    values = first.seen[-1][1]
    assert {
        "loss",
        "lr",
        "grad_norm",
        "update_ratio",
        "gradient/head.weight",
        "weight/head.weight",
        "update/head.weight",
        "activation/head/std",
        "attention/encoder.layers.0.self_attn/entropy",
    } <= set(values)
    assert values["loss"] == watched.record.loss[-1] and all(
        isinstance(value, float | list) for value in values.values()
    )
    assert sum("attention/encoder.layers.0.self_attn/pattern" in values for _, values in first.seen) > 3


def test_a_sink_that_wants_samples_gets_values_of_every_tensor(tmp_path):
    """Samples are the values of the sampled step, at most 512 of a tensor, and no other sink gets them."""
    wanting, other = Keeping(wants_samples=True), Keeping()
    with firstfault.watch(folder=tmp_path, sinks=[wanting, other]):
        train()
    samples = wanting.seen[0][1]
    torch.manual_seed(0)
    start = Attending().head.weight.detach().numpy()
    assert np.array_equal(samples["weights/head.weight"], start.ravel())
    norm = samples["gradient/head.weight"]
    assert (
        np.linalg.norm(samples["gradients/head.weight"]) == pytest.approx(norm, rel=1e-4)
        and len(samples["activations/head"]) == 64
    )
    assert all(len(value) <= MOST for value in samples.values() if isinstance(value, np.ndarray))
    assert not any(isinstance(value, np.ndarray) for _, values in other.seen for value in values.values())


@pytest.mark.parametrize("sink", [Hanging, Raising], ids=lambda kind: kind.__name__.lower())
def test_a_sink_that_hangs_or_raises_changes_nothing_of_the_training(sink, tmp_path, impatient):
    """The loop's weights are those without a watch, another sink has every step, and what was dropped is said."""
    alone, sound = train(), Keeping()
    with firstfault.watch(folder=tmp_path, sinks=[sink(wants_samples=True), sound]) as watched:
        seen = train()
    assert all(torch.equal(a, b) for a, b in zip(alone, seen, strict=True))
    assert [step for step, _ in sound.seen] == SAMPLED
    said = watched.record.passed_over[sink.__name__]
    assert (
        said
        == {
            "Hanging": "dropped 9 of 9 steps: it hangs, or is too slow",
            "Raising": "dropped 7 of 9 steps: OSError: disk full",
        }[sink.__name__]
    )


def test_a_slow_sink_drops_the_newest_and_keeps_the_order(tmp_path, monkeypatch):
    """With room for three steps, one is in hand, three wait, and the others are counted as dropped."""
    monkeypatch.setattr(probe_sinks, "WAITING", 3)
    slow = Waiting()
    with firstfault.watch(folder=tmp_path, sinks=[slow]) as watched:
        train(after=lambda step: slow.allowed.set() if step == 40 else None)
    steps = [step for step, _ in slow.seen]
    assert steps == sorted(steps) and steps[0] == 1 and len(steps) < len(SAMPLED)
    assert watched.record.passed_over["Waiting"] == f"dropped {9 - len(steps)} of 9 steps: it was too slow"


def test_a_sink_that_closes_slowly_is_waited_for(tmp_path, monkeypatch):
    """Its writes have ended, and its end may take longer than a write: ClearML packs its session then."""
    monkeypatch.setattr(probe_sinks, "SECONDS_IDLE", 0.05)

    class Unhurried(Keeping):
        def close(self):
            threading.Event().wait(0.3)
            super().close()

    sink = Unhurried()
    with firstfault.watch(folder=tmp_path, sinks=[sink]) as watched:
        train(steps=3)
    assert sink.closed and not watched.record.passed_over


def test_many_hanging_sinks_are_waited_for_together(tmp_path, monkeypatch):
    """Closing takes one limit for all, not one each: the limit is passed to none twice."""
    monkeypatch.setattr(probe_sinks, "SECONDS_TO_END", 0.3)
    with firstfault.watch(folder=tmp_path, sinks=[Hanging() for _ in range(50)]) as watched:
        train(steps=3)
    assert {"Hanging", "Hanging 2", "Hanging 50"} <= set(watched.record.passed_over)


def test_a_sink_is_told_of_a_loop_that_raised(tmp_path):
    """The reason comes before the end."""
    sink = Keeping()
    with pytest.raises(ZeroDivisionError), firstfault.watch(folder=tmp_path, sinks=[sink]):
        train(after=lambda step: 1 / (5 - step))
    assert (
        sink.failed == "ZeroDivisionError: division by zero"
        and sink.closed
        and [step for step, _ in sink.seen] == [1, 2, 3, 4, 5]
    )


def test_values_are_those_of_the_step_when_a_series_has_thinned_out(tmp_path):
    """After 6,000 steps, at every fourth of which a loss is kept, a sink still gets the loss of the sampled step."""
    sink, losses = Keeping(), []
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), 1e-5)
    with firstfault.watch(folder=tmp_path, sinks=[sink], every=50):
        for _ in range(6_000):
            optimizer.zero_grad()
            loss = model(torch.ones(1, 2)).sum()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    assert all(values["loss"] == losses[step - 1] for step, values in sink.seen) and sink.seen[-1][0] == 6_000


def test_a_stopped_part_of_a_model_sends_no_old_numbers(tmp_path):
    """A layer that trains for three steps only is not repeated in the steps after."""
    sink, early, late = Keeping(), nn.Linear(3, 3), nn.Linear(3, 1)
    optimizers = [torch.optim.SGD(part.parameters(), 0.01) for part in (late, early)]
    with firstfault.watch(folder=tmp_path, sinks=[sink]):
        for step in range(20):
            for optimizer in optimizers:
                optimizer.zero_grad()
            (late(early(torch.ones(4, 3)) if step < 3 else torch.ones(4, 3)).sum()).backward()
            for optimizer in optimizers[: 2 if step < 3 else 1]:
                optimizer.step()
    first, last = ({name for name in sink.seen[place][1] if name.startswith("weight/")} for place in (2, -1))
    assert len(first) == 4 and len(last) == 2 and last < first


def test_json_lines_are_valid_json_where_the_training_is_not_finite(tmp_path):
    """A loss that is NaN, and infinite norms, are strings; each line is strict JSON."""

    def strict(text):
        raise AssertionError(text)

    with firstfault.watch(folder=tmp_path, sinks=[JsonLines(tmp_path / "new" / "steps.jsonl")]):
        train(rate=1e30)
    lines = [
        json.loads(line, parse_constant=strict) for line in (tmp_path / "new" / "steps.jsonl").read_text().splitlines()
    ]
    assert (
        [line["step"] for line in lines] == SAMPLED
        and lines[-1]["loss"] == "nan"
        and isinstance(lines[0]["loss"], float)
    )


def events(folder):
    """The tags of the TensorBoard files of a folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "histograms": 0, "images": 0})
    found.Reload()
    return found


def test_tensorboard_has_scalars_histograms_and_attention_images(tmp_path):
    """All three are readable by TensorBoard's own reader, each with its steps."""
    with firstfault.watch(folder=tmp_path, sinks=[TensorBoard()]):
        train()
    found = events(tmp_path / "tensorboard")
    assert [entry.step for entry in found.Scalars("loss")] == SAMPLED
    for name in ("gradients/head.weight", "weights/head.weight", "activations/head"):
        assert len(found.Histograms(name)) > 3
    histogram = found.Histograms("weights/head.weight")[0].histogram_value
    assert histogram.num == 32 and sum(histogram.bucket) == 32
    image = found.Images("attention/encoder.layers.0.self_attn/pattern")[0]
    assert image.encoded_image_string.startswith(b"\x89PNG") and image.width == image.height == 7 * (256 // 7)


def test_tensorboard_takes_what_is_not_finite(tmp_path):
    """A NaN is a point of its curve, and histograms are of the finite values."""
    with firstfault.watch(folder=tmp_path, sinks=[TensorBoard(tmp_path / "tb")]) as watched:
        train(rate=1e30)
    assert math.isnan(events(tmp_path / "tb").Scalars("loss")[-1].value) and not watched.record.passed_over


def the_run(home, experiment):
    """The client and the only run of an experiment."""
    tracker = open_tracker(State(home / ".firstfault"), experiment)
    (run,) = tracker.client.search_runs([tracker.experiment_id])
    return tracker.client, run


def test_mlflow_has_the_curves_in_an_experiment_of_the_training(home):
    """Overall numbers are of every sampled step, a layer's of some, a NaN is kept, and the run is tagged and ended."""
    with firstfault.watch("encoder", folder=home / "watch", sinks=[MLflow()]) as watched:
        train(rate=1e30)
    client, run = the_run(home, "encoder")
    history = client.get_metric_history(run.info.run_id, "loss")
    assert (
        [point.step for point in history] == SAMPLED
        and math.isnan(history[-1].value)
        and math.isfinite(history[0].value)
    )
    assert 1 < len(client.get_metric_history(run.info.run_id, "weight/head.weight")) <= len(SAMPLED)
    assert (
        run.info.status == "FINISHED" and run.data.tags["firstfault.kind"] == "watch" and not watched.record.passed_over
    )


def test_mlflow_says_that_the_loop_raised(home):
    """The run is FAILED, with the reason."""
    with pytest.raises(ZeroDivisionError), firstfault.watch("encoder", folder=home / "watch", sinks=[MLflow()]):
        train(after=lambda step: 1 / (5 - step))
    _, run = the_run(home, "encoder")
    assert run.info.status == "FAILED" and run.data.tags["firstfault.crash"].startswith("ZeroDivisionError")


def test_a_store_that_does_not_answer_is_said_and_stops_nothing(home, monkeypatch):
    """Nothing listens at the tracking URI: every step is dropped, with the reason."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with firstfault.watch(folder=home / "watch", sinks=[MLflow()]) as watched:
        train()
    assert watched.record.passed_over["MLflow"].startswith(
        "dropped 9 of 9 steps: PrerequisiteError: MLflow must answer at http://127.0.0.1:9"
    )


class Breaking(MLflow):
    """Loses its run as soon as it has been opened."""

    def begin(self, name, folder):
        super().begin(name, folder)
        self._run = "gone"


def test_a_store_that_breaks_on_the_way_loses_what_was_gathered(home):
    """The steps that waited for their batch are counted as dropped, too."""
    with firstfault.watch("encoder", folder=home / "watch", sinks=[Breaking()]) as watched:
        train()
    assert watched.record.passed_over["Breaking"].startswith("dropped 9 of 9 steps: MLflow no longer answers")


WANDB = importlib.util.find_spec("wandb")


@pytest.mark.skipif(WANDB is None, reason="wandb is not installed")
def test_wandb_keeps_an_offline_run(tmp_path):
    """The run's file has the numbers and histograms, its media the attention patterns.

    The script's own run is not touched.
    """
    import wandb

    from firstfault.sinks import WeightsAndBiases

    with firstfault.watch("my/encoder", folder=tmp_path, sinks=[WeightsAndBiases(mode="offline")]) as watched:
        train()
    (run,) = (tmp_path / "wandb").glob("offline-run-*")
    content = next(run.glob("*.wandb")).read_bytes()
    assert not watched.record.passed_over and wandb.run is None
    assert all(name in content for name in (b"my-encoder", b"grad_norm", b"gradients/head.weight", b"histogram"))
    assert list((run / "files" / "media" / "images" / "attention").rglob("*.png"))


@pytest.mark.skipif(importlib.util.find_spec("aim") is None, reason="aim is not installed")
def test_aim_keeps_a_run_on_disk(tmp_path):
    """Curves with what is not finite, distributions and attention patterns, in an experiment of the training."""
    import aim
    from aim.sdk.index_manager import RepoIndexManager

    from firstfault.sinks import Aim

    with firstfault.watch("encoder", folder=tmp_path / "watch", sinks=[Aim(tmp_path)]) as watched:
        train(rate=float("inf"))
    repo = aim.Repo.from_path(str(tmp_path))
    RepoIndexManager.get_index_manager(repo).index(*repo.list_all_runs())  # as `aim up` does
    (run,) = repo.iter_runs()
    (loss,) = (metric.values.values_numpy() for metric in run.metrics() if metric.name == "loss")
    assert not watched.record.passed_over and (run.experiment, run.name) == ("encoder", "watch")
    assert len(loss) == len(SAMPLED) and 0 < np.isfinite(loss).sum() < len(SAMPLED)
    kinds = run.collect_sequence_info(("distributions", "images"))
    assert any(each["name"].startswith("gradients/") for each in kinds["distributions"])
    assert any(each["name"].startswith("attention/") for each in kinds["images"])


@pytest.mark.skipif(importlib.util.find_spec("clearml") is None, reason="clearml is not installed")
def test_clearml_keeps_an_offline_task(tmp_path, monkeypatch):
    """Without a server the task is a session in the training's folder; what is not finite is left out.

    The sink is called as its thread calls it, since ClearML's end may take longer than is waited for.
    """
    monkeypatch.setenv("CLEARML_CACHE_DIR", str(tmp_path / "cache"))
    from firstfault.sinks import ClearML

    sink = ClearML(offline=True)
    sink.begin("encoder", tmp_path)
    for step in (1, 2):
        sink.write(step, {"loss": 0.5 / step, "grad_norm": math.nan, "gradients/head": np.arange(9.0)})
    sink.fail("it raised")
    sink.close()
    (session,) = (tmp_path / "clearml").glob("*.zip")
    with zipfile.ZipFile(session) as kept:
        reported = kept.read("metrics.jsonl").decode()
    assert '"loss"' in reported and "head" in reported and "grad_norm" not in reported


@pytest.mark.parametrize("name", ["wandb", "aim", "clearml"])
def test_a_missing_package_is_named_by_its_extra(monkeypatch, name):
    """The error is the command that installs it, before the training starts."""
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(PrerequisiteError, match=rf"pip install 'firstfault\[{name}\]'"):
        sinks_named([name])


def test_an_unknown_name_is_refused():
    """The error lists the names."""
    with pytest.raises(TargetError, match="json, tensorboard, mlflow, wandb, aim, clearml, but got 'csv'"):
        sinks_named(["csv"])


def test_a_script_is_sent_to_several_sinks_by_name(home, monkeypatch):
    """`firstfault run --sink json --sink tensorboard`: both are in the run's folder."""
    monkeypatch.chdir(home)
    Path("script.py").write_text(
        "import torch\nmodel = torch.nn.Linear(2, 1)\noptimizer = torch.optim.SGD(model.parameters(), 0.1)\n"
        "for _ in range(12):\n    optimizer.zero_grad()\n"
        "    model(torch.ones(4, 2)).sum().backward()\n    optimizer.step()\n"
    )
    folder = run_script("script.py", [], sinks=["json", "tensorboard", "json"]).folder
    assert len((folder / "steps.jsonl").read_text().splitlines()) == 6
    assert len(events(folder / "tensorboard").Scalars("loss")) == 6


@pytest.mark.parametrize("shape", [(4096, 64), (512, 512), (8, 3, 32, 32), (7,), (1,), (30030,)])
def test_a_stride_meets_every_unit(shape):
    """It leaves few enough values, and shares no factor with any axis, so that no unit is always passed over."""
    size = math.prod(shape)
    step = stride(size, MOST)
    assert len(range(0, size, step)) <= MOST and all(math.gcd(step, axis) == 1 for axis in shape)
    assert len({place % shape[-1] for place in range(0, size, step)}) == min(shape[-1], len(range(0, size, step)))


def test_samples_grow_rarer_and_take_every_kind_of_tensor():
    """Sparse, complex, half-precision and empty tensors; some 90 times in 10,000 steps."""
    samples, times = Samples(), 0
    odd = torch.eye(3).to_sparse(), torch.ones(2, dtype=torch.complex64), torch.ones(3).bfloat16(), torch.ones(0)
    for step in range(10, 10_001, 10):
        samples.take("weights", ((str(number), value) for number, value in enumerate(odd)))
        times += bool(found := samples.pull(step))
        assert not found or [len(value) for value in found.values()] == [3, 4, 3, 0]
    assert 40 < times < 120 and not samples.failed
