"""Actions on findings while a loop runs: they act once, disturb nothing, and one of them ends the training."""

import logging
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import firstfault
from firstfault.actions import Alert, Checkpoint, Log, Stop
from firstfault.cli.app import main
from firstfault.errors import TargetError
from firstfault.finding import Status
from firstfault.watcher.script import run_script

TOO_HIGH, FITTING, STEPS = 3.0, 0.05, 300


def network():
    """A network with dropout, so that a number drawn beside the training would change it."""
    return nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 3))


def train(rate, steps=STEPS, make=None):
    """A loop over three classes in shuffled batches; its model."""
    torch.manual_seed(0)
    x = torch.randn(480, 12)
    y = (x[:, 3] > 0).long() + (x[:, 4] > 0).long()
    model, done = network(), 0
    optimizer = make(model.parameters(), rate) if make else torch.optim.SGD(model.parameters(), rate, momentum=0.9)
    while done < steps:
        for inputs, labels in DataLoader(TensorDataset(x, y), 32, shuffle=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
            done += 1
    return model


@pytest.fixture
def alone(monkeypatch, tmp_path):
    """No server of Prefect or MLflow is known but the store in tmp_path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    monkeypatch.setenv("FIRSTFAULT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")


def test_a_training_that_goes_wrong_is_told_of_kept_and_stopped(tmp_path, caplog):
    """Every action acts on the finding, the loop ends, the code behind the block goes on."""
    told = []
    with (
        caplog.at_level(logging.WARNING),
        firstfault.watch(
            "toy",
            folder=tmp_path,
            actions=[
                Log(),
                Alert(lambda found, step, record: told.append((found.check, step, record.steps))),
                Checkpoint(),
                Stop(),
            ],
        ) as watched,
    ):
        train(TOO_HIGH)
    record = watched.record
    assert record.steps < STEPS and record.stopped.startswith(f"step {record.steps}: ") and watched.crash is None
    assert told and all(step == steps == record.steps for _, step, steps in told)
    assert f"toy, step {record.steps}: {told[0][0]}" in caplog.text
    network().load_state_dict(torch.load(tmp_path / "checkpoints" / f"step_{record.steps}.pt", weights_only=True))
    said = {found.check: found for report in watched.verdict(swaps=False).layers for found in report.findings}[
        "stopped_by_action"
    ]
    assert said.status is Status.WARN and record.stopped in said.message and str(said.where) == f"step {record.steps}"


def test_nothing_happens_in_its_healthy_twin(tmp_path):
    """No finding, no file at a step, every step made; the last sound weights are kept."""
    with firstfault.watch(folder=tmp_path, actions=[Log(), Checkpoint(), Stop()]) as watched:
        train(FITTING)
    assert watched.record.steps >= STEPS and watched.record.acts == [] and not watched.record.stopped
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"last_sound.pt", "last_sound.json"}


@pytest.mark.parametrize("rate", [FITTING, TOO_HIGH])
def test_no_bit_of_the_result_changes(rate, tmp_path):
    """Also where actions act, and a callback draws random numbers, changes modes and drops gradients."""
    models = []

    def careless(found, step, record):
        torch.randn(3), random.random(), np.random.rand()
        for model in models:
            model.eval()

    class Meddling:
        """Changes what it is shown."""

        def act(self, occasion):
            for model in occasion.models.values():
                model.eval()
                model.zero_grad()
            torch.randn(5)

    plain = train(rate, 200)
    with firstfault.watch(folder=tmp_path, actions=[Log(), Alert(careless), Checkpoint(), Meddling()]) as watched:
        seen = train(rate, 200)
    assert all(torch.equal(one, other) for one, other in zip(plain.parameters(), seen.parameters(), strict=True))
    assert bool(watched.record.acts) == (rate == TOO_HIGH)


def test_a_finding_acts_once(tmp_path):
    """The same check, fault and place is told of once, however long the training goes on."""
    told = []
    with firstfault.watch(
        folder=tmp_path,
        actions=[Alert(lambda found, step, record: told.append((found.check, tuple(found.faults), str(found.where))))],
    ):
        train(TOO_HIGH)
    assert told and len(told) == len(set(told))


@pytest.mark.parametrize(("rate", "fires"), [(10.0, True), (2e-5, False), (1e-2, False)])
def test_steps_that_are_too_large_and_lead_nowhere_are_found_without_a_nan(rate, fires, tmp_path):
    """A loss that stays where it was is no finding where the steps are small, as in an adversarial training."""
    with firstfault.watch(folder=tmp_path, actions=[Stop()]) as watched:
        train(rate, make=torch.optim.Adam)
    assert (
        ("no_progress" in watched.record.stopped or "overshoots" in watched.record.stopped)
        == fires
        == bool(watched.record.stopped)
    )


def test_a_value_that_is_not_finite_stops_at_the_next_sampled_step(tmp_path):
    """The rules are not waited for."""
    with firstfault.watch(folder=tmp_path, actions=[Stop()]) as watched:
        train(30.0)
    step, *_ = watched.record.first_nonfinite
    assert step <= watched.record.steps <= step + 10 and "nonfinite_loss" in watched.record.stopped


def test_an_action_that_raises_is_a_warning_and_the_others_act(tmp_path, caplog):
    """What the user's callback raises does not end the training."""

    def broken(found, step, record):
        raise RuntimeError("no network")

    with (
        caplog.at_level(logging.WARNING),
        firstfault.watch(folder=tmp_path, actions=[Alert(broken), Checkpoint()]) as watched,
    ):
        train(TOO_HIGH)
    assert watched.record.steps >= STEPS and "no network" in caplog.text
    assert {act["action"] for act in watched.record.acts} == {"Alert", "Checkpoint"}


def test_a_loop_that_forgives_every_exception_stops_too(tmp_path):
    """TrainingStopped is no Exception, and its own block swallows it."""
    x, steps = torch.full((4, 2), torch.nan), 0
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with firstfault.watch(folder=tmp_path, actions=[Stop()]) as watched:
        for _ in range(100):
            try:
                model(x).sum().backward()
                optimizer.step()
                steps += 1
            except Exception:
                pass
    assert steps < 20 and "nonfinite_loss" in watched.record.stopped


def test_an_inner_watch_ends_what_it_stopped_and_the_script_goes_on(tmp_path):
    """Two trainings one after the other: the first is stopped, the second is not."""
    for number, rate in enumerate((TOO_HIGH, FITTING)):
        with firstfault.watch(folder=tmp_path / str(number), actions=[Stop()]) as watched:
            train(rate)
        assert bool(watched.record.stopped) == (rate == TOO_HIGH)


def test_an_event_without_a_server_is_a_warning(tmp_path, alone, caplog):
    """It is said what was lost, and the training goes on."""
    with (
        caplog.at_level(logging.WARNING),
        firstfault.watch(folder=tmp_path / "run", actions=[Alert(event="toy.failed")]) as watched,
    ):
        train(TOO_HIGH)
    assert watched.record.steps >= STEPS and "PREFECT_API_URL" in watched.record.passed_over["the event toy.failed"]
    assert "the event toy.failed was lost" in caplog.text


def test_checkpoints_are_logged_models_with_step_and_metrics(tmp_path, alone):
    """`search_logged_models` finds them by their metrics, and the weights of the last sound step load."""
    import mlflow

    with firstfault.watch("toy", folder=tmp_path / "run", actions=[Checkpoint(mlflow=True), Stop()]) as watched:
        train(TOO_HIGH)
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("toy").experiment_id
    found = {
        model.name: model
        for model in mlflow.search_logged_models(
            experiment_ids=[experiment], filter_string="metrics.grad_norm > 0", output_format="list"
        )
    }
    kept = found[f"step_{watched.record.steps}"]
    assert kept.params["step"] == str(watched.record.steps) and str(kept.status) in ("READY", "LoggedModelStatus.READY")
    assert {metric.key: metric.step for metric in kept.metrics} == {
        "loss": watched.record.steps,
        "grad_norm": watched.record.steps,
    }
    folder = mlflow.artifacts.download_artifacts(f"models:/{kept.model_id}")
    network().load_state_dict(torch.load(f"{folder}/weights.pt", weights_only=True))


@pytest.mark.parametrize(
    "given", ["log,halt", ["stop", 3], 7, [lambda found: None]], ids=["name", "number", "whole", "function"]
)
def test_what_is_no_action_is_refused(given, tmp_path):
    """The sentence names the actions."""
    with pytest.raises(TargetError, match="log, alert, checkpoint, stop"):
        firstfault.watch(folder=tmp_path, actions=given)


def test_an_alert_must_tell_somebody():
    """Neither a callback nor an event, or a callback that is none."""
    for arguments in ((), ("firstfault",)):
        with pytest.raises(TargetError, match="callback"):
            Alert(*arguments)


SCRIPT = """
import sys, torch
from torch import nn
torch.manual_seed(0)
x = torch.randn(64, 6)
y = (x[:, 0] > 0).long()
model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2))
optimizer = torch.optim.SGD(model.parameters(), float(sys.argv[1]), momentum=0.9)
for step in range(150):
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
print("came to its end")
"""


@pytest.mark.parametrize(("rate", "stops"), [("1e20", True), ("0.1", False)])
def test_a_script_is_stopped_from_the_command_line(rate, stops, tmp_path, alone, capsys):
    """The script ends at the step; its healthy twin comes to its end."""
    (tmp_path / "train.py").write_text(SCRIPT)
    watched = run_script("train.py", [rate], on_finding="log, stop")
    assert bool(watched.record.stopped) == stops and watched.crash is None
    assert ("came to its end" in capsys.readouterr().out) != stops


def test_a_bad_action_on_the_command_line_is_one_sentence(tmp_path, alone, monkeypatch, capsys):
    """Exit code 2, and the script is not run."""
    (tmp_path / "train.py").write_text("raise SystemExit(0)")
    monkeypatch.setattr("sys.argv", ["firstfault", "run", "--on-finding", "log,halt", "train.py"])
    with pytest.raises(SystemExit) as left:
        main()
    assert (
        left.value.code == 2 and "--on-finding must be some of log, alert, checkpoint, stop" in capsys.readouterr().err
    )
