"""Which fault a repair speaks for: of rates and optimizers, of losses and outputs, of lost trainings."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from firstfault.ablation.confirm.confirm import confirm
from firstfault.ablation.swap import swaps
from firstfault.ablation.swaps.training import rate_to_blame
from firstfault.errors import Missing
from firstfault.subject.replay import replayed


def loop(loss, epochs=6):
    """A loop of the user's own with Adam."""

    def fit(model, batches, held_out):
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(epochs):
            for x, y in batches:
                optimizer.zero_grad()
                loss(model(x), y).backward()
                optimizer.step()

    return fit


@pytest.mark.parametrize(
    ("optimizer", "rate"),
    [
        (partial(torch.optim.AdamW, lr=0.8), True),
        (partial(torch.optim.Adam, lr=1e-3), True),
        (partial(torch.optim.SGD, lr=1e-5), True),
        (partial(torch.optim.SGD, lr=50.0), True),
        (partial(torch.optim.SGD, lr=3e-3), False),
        (partial(torch.optim.Adadelta, lr=1e-3), False),
    ],
)
def test_adam_at_its_usual_rate_speaks_against_the_rate_where_that_is_absurd(subject_of, optimizer, rate):
    """Of one of Adam's kind only the rate differs; another optimizer can be blamed where its rate is possible."""
    assert bool(rate_to_blame(subject_of(optimizer=optimizer))) is rate


def test_a_high_rate_of_adam_is_no_wrong_optimizer(subject_of, suspect):
    """Though Adam at another rate repairs it, too."""
    subject = subject_of(
        lr=3.0, model=lambda: nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 3))
    )
    outcomes = confirm(subject, suspect({"wrong_optimizer": 0.6, "learning_rate_too_high": 0.55}), budget_seconds=60.0)
    assert {outcome.fault: outcome.confirmed for outcome in outcomes} == {
        "wrong_optimizer": None,
        "learning_rate_too_high": True,
    }


def test_labels_repeated_over_the_classes_are_replayed_as_they_were(subject_of):
    """Squares against the class id in every column are no one-hot labels: the replay learns as little as the loop."""
    wrong, right = (
        subject_of(fit=loop(loss), folder=name)
        for name, loss in {
            "ids": lambda outputs, y: F.mse_loss(outputs, y[:, None].float().expand_as(outputs)),
            "shares": lambda outputs, y: F.mse_loss(outputs, F.one_hot(y, 3).float()),
        }.items()
    )
    outputs, y = torch.eye(3), torch.tensor([0, 1, 2])
    for subject in (wrong, right):
        subject.get("trained")
    assert float(replayed(wrong).training.loss(outputs, y)) > 1.0
    assert float(replayed(right).training.loss(outputs, y)) < 1e-6


def test_labels_that_the_loop_derives_are_not_replayed(subject_of):
    """The first of several labels is not what the data hold: how it is made is not known."""
    X = np.random.default_rng(0).normal(size=(400, 8)).astype(np.float32)
    data = (X, (X[:, :3] > 0).astype(np.float32))
    fit = loop(lambda outputs, y: F.cross_entropy(outputs, y.argmax(1)), epochs=3)
    subject = subject_of(data=data, task="multilabel", fit=fit)
    subject.get("trained")
    with pytest.raises(Missing, match="labels of another shape"):
        replayed(subject)


def test_what_is_raw_already_is_no_repair_of_the_outputs(subject_of):
    """Weights of classes are of the loss: they speak for another loss, not for other outputs."""
    weighted = subject_of(loss=nn.CrossEntropyLoss(weight=torch.tensor([1.0, 0.0, 0.0])))
    with pytest.raises(Missing, match="raw"):
        swaps()["raw_outputs"].apply(weighted)
    assert swaps()["fitting_loss"].apply(weighted).training.loss.weight is None
    with pytest.raises(Missing, match="fits already"):
        swaps()["fitting_loss"].apply(subject_of(loss=nn.CrossEntropyLoss(), folder="plain"))


def test_outputs_that_are_no_probabilities_get_no_logarithm(subject_of):
    """A softmax does."""
    with pytest.raises(Missing, match="no probabilities"):
        swaps()["softmax_once"].apply(subject_of())
    assert (
        swaps()["softmax_once"]
        .apply(subject_of(model=lambda: nn.Sequential(nn.Linear(8, 3), nn.Softmax(1)), folder="softmax"))
        .training.loss
    )


def test_a_constant_rate_is_tried_in_the_replay_of_a_loop(subject_of):
    """Its schedule is known from the rates that were seen."""

    def fit(model, batches, held_out):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        for _ in range(4):
            for x, y in batches:
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
            schedule.step()

    subject = subject_of(fit=fit)
    subject.get("trained")
    assert replayed(subject).training.scheduler is not None
    assert swaps()["no_scheduler"].apply(subject).training.scheduler is None


@pytest.mark.parametrize(("epochs", "tried"), [(1, True), (12, False)])
def test_of_few_epochs_many_times_as_many_are_tried(subject_of, epochs, tried):
    """Four times one is few still."""
    if tried:
        assert swaps()["much_longer"].apply(subject_of(epochs=epochs)).training.epochs == 16 * epochs
    else:
        with pytest.raises(Missing):
            swaps()["much_longer"].apply(subject_of(epochs=epochs))


def test_nothing_is_acquitted_by_a_training_that_nothing_restores(subject_of, suspect):
    """A loss that no swap replaces keeps every other repair from helping: the suspect is untested, not refuted."""

    def fit(model, batches, held_out):
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
        for _ in range(3):
            for x, y in batches:
                optimizer.zero_grad()
                (F.cross_entropy(model(x), y) * 0).backward()
                optimizer.step()

    subject = subject_of(fit=fit)
    subject.get("trained")
    outcomes = confirm(subject, suspect({"learning_rate_too_low": 0.6}, extra=()), budget_seconds=30.0)
    assert next(outcome for outcome in outcomes if outcome.fault == "learning_rate_too_low").confirmed is not False
