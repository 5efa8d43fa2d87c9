"""Loops that end with the weights they began with."""

import copy

import pytest
import torch
from sklearn.datasets import load_iris, load_wine
from sklearn.preprocessing import StandardScaler
from torch import nn

from firstfault import Data, Target, Training
from firstfault.check import checks_of, run_check
from firstfault.finding import Layer, Status
from firstfault.subject.subject import Subject


def network(inputs=13):
    """A small network for three classes."""
    return nn.Sequential(nn.Linear(inputs, 16), nn.ReLU(), nn.Linear(16, 3))


def loop(step, chosen=lambda model: model):
    """A `fit` of 20 epochs in which `step(optimizer, model)` is all that changes weights."""

    def fit(model, batches, held_out):
        model = chosen(model)
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        for _ in range(20):
            for x, y in batches:
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x), y).backward()
                step(optimizer, model)

    return fit


def by_hand(optimizer, model):
    """A step of gradient descent without an optimizer."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0.1 * parameter.grad


def found(folder, fit, source=load_wine, model=network):
    """What the check says of a loop."""
    target = Target(
        "t",
        data=Data(train=source(return_X_y=True)),
        preprocess=StandardScaler(),
        model=model,
        training=Training(fit=fit, batch_size=16),
    )
    [entry] = [entry for entry in checks_of(Layer.TRAINING) if entry.name == "untrained"]
    [finding] = run_check(entry, Subject(target, folder), {})
    return finding


@pytest.mark.parametrize(
    "fit",
    [
        loop(lambda optimizer, model: None),
        loop(lambda optimizer, model: optimizer.step(), copy.deepcopy),
        lambda model, batches, held_out: None,
    ],
    ids=["no step", "a copy is trained", "nothing"],
)
def test_a_loop_that_changes_nothing_is_found(tmp_path, fit):
    """No parameter moves, and the model is far from a simple one."""
    finding = found(tmp_path, fit)
    assert finding.status is Status.FAIL and finding.faults == {"stalled": 0.92}


def test_loops_that_learn_are_not(tmp_path):
    """With an optimizer, or by hand."""
    assert (
        found(tmp_path / "a", loop(lambda optimizer, model: optimizer.step()), load_iris, lambda: network(4)).status
        is Status.PASS
    )
    assert found(tmp_path / "b", loop(by_hand)).status is Status.PASS


def test_a_model_that_comes_trained_needs_no_training(tmp_path):
    """Its factory loads weights, and its `fit` has nothing to do."""
    first = network(4)
    X, y = load_iris(return_X_y=True)
    loop(lambda optimizer, model: optimizer.step())(
        first, [(torch.tensor(StandardScaler().fit_transform(X)).float(), torch.tensor(y))] * 5, None
    )
    assert (
        found(tmp_path, lambda model, batches, held_out: None, load_iris, lambda: copy.deepcopy(first)).status
        is Status.PASS
    )
