"""An accuracy that a Trainer logs is held against the share of the most frequent label."""

import pytest
import torch
from torch import nn

import firstfault
from firstfault.check import checks_of, run_check
from firstfault.finding import Layer, Status


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """Four classes that are learnt as numbers, and well."""
    torch.manual_seed(0)
    x = torch.randn(256, 4)
    y = x.argmax(1)
    model = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 1))
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    with firstfault.watch(folder=tmp_path_factory.mktemp("numbers")) as seen:
        for _ in range(150):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x)[:, 0], y.float()).backward()
            optimizer.step()
    return seen


@pytest.mark.parametrize(
    ("logged", "status"),
    [
        ({"eval_accuracy": 0.26, "accuracy": 0.9}, Status.FAIL),
        ({"val/acc": 0.9, "train_acc": 0.2}, Status.PASS),
        ({"test_acc": 90.0}, Status.PASS),
        ({"eval_loss": 0.2, "accumulated": 0.1}, Status.SKIPPED),
    ],
    ids=["chance on held-out data", "better on held-out data", "in percent", "no accuracy"],
)
def test_classes_that_are_learnt_as_numbers_are_told_by_the_loops_own_accuracy(watched, logged, status):
    """It is the loss that is wrong, where the accuracy is that of no model though the loss fell."""
    watched.record.logged = logged
    [found] = run_check(
        next(entry for entry in checks_of(Layer.TRAINING) if entry.name == "logged_accuracy"), watched.subject, {}
    )
    assert found.status is status
    assert ("wrong_loss" in found.faults) is (status is Status.FAIL)
