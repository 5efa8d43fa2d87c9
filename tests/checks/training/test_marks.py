"""What a trained model is held against, and what follows from falling short of it."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from firstfault import Data, Target, Training
from firstfault.check import Depth, checks_of, run_check
from firstfault.data.splits import load_raw
from firstfault.finding import Layer, Status
from firstfault.standing import STANDS
from firstfault.subject.subject import Subject


def rows(n=600, seed=0):
    """Rows `(N, 6)` with the largest of three columns as their class."""
    X = np.random.default_rng(seed).normal(size=(n, 6)).astype(np.float32)
    return X, X[:, :3].argmax(1)


@pytest.fixture
def subject(tmp_path):
    """A function that makes a subject of rows with three classes."""

    def build(source=None, task="classification", outputs=3, **training):
        settings = {"optimizer": partial(torch.optim.Adam, lr=1e-2), "epochs": 10, "batch_size": 32, **training}
        model = lambda: nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, outputs))  # noqa: E731
        target = Target("t", task=task, data=Data(train=source or rows()), model=model, training=Training(**settings))
        return Subject(target, tmp_path, Depth.STANDARD)

    return build


def loop(rate, epochs):
    """A loop of the user's own with plain SGD."""

    def fit(model, batches, held_out):
        optimizer = torch.optim.SGD(model.parameters(), lr=rate)
        for _ in range(epochs):
            for x, y in batches:
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()

    return fit


def test_a_class_that_the_loss_leaves_out_is_found(subject, only):
    """A weight of 0 is no weight; small ones are."""
    finding = only("wrong_loss", subject(loss=nn.CrossEntropyLoss(weight=torch.tensor([1.0, 0.0, 1.0]))))
    assert finding.status is Status.FAIL and "1:" in finding.message and finding.faults == {"wrong_loss": 0.8}
    assert (
        only("wrong_loss", subject(loss=nn.CrossEntropyLoss(weight=torch.tensor([1.0, 0.05, 3.0])))).status
        is Status.PASS
    )


def test_how_many_rows_a_class_must_have_to_be_missed_is_a_threshold(subject):
    """A target that sets more than the class has is told nothing of it."""
    left_out = subject(loss=nn.CrossEntropyLoss(weight=torch.tensor([1.0, 0.0, 1.0])))
    [check] = [entry for entry in checks_of(Layer.TRAINING) if entry.name == "wrong_loss"]
    assert {rows: run_check(check, left_out, {"several": rows})[0].status for rows in (3, 257)} == {
        3: Status.FAIL,
        257: Status.PASS,
    }


def test_a_class_that_is_left_out_is_found_in_sorted_rows(subject, only):
    """The rows that are asked about are taken from all of the split."""
    X, y = rows()
    order = np.argsort(y, kind="stable")
    sorted_rows = subject(
        (X[order], y[order]), loss=nn.CrossEntropyLoss(weight=torch.tensor([1.0, 1.0, 0.0])), shuffle=False
    )
    assert only("wrong_loss", sorted_rows).status is Status.FAIL


def test_a_little_behind_in_a_loop_of_ones_own_is_left_to_a_swap(subject, only):
    """It does not stand by itself, as a large gap does; a loop that comes as far as a linear model passes."""
    found = {
        name: only("underperforms", subject(rows(2400), fit=loop(rate, 6)))
        for name, rate in {"far": 1e-4, "near": 2.5e-2, "sound": 0.2}.items()
    }
    assert {name: finding.status for name, finding in found.items()} == {
        "far": Status.FAIL,
        "near": Status.FAIL,
        "sound": Status.PASS,
    }
    assert max(found["far"].faults.values()) >= STANDS > max(found["near"].faults.values())


def test_a_metric_of_outputs_on_another_scale_is_no_mismatch(subject, only):
    """Neither the loss nor the metric prefers a rate where outputs are its logarithm; on the labels' scale both do."""
    X, _ = rows()
    counts = np.random.default_rng(1).poisson(np.exp(0.5 * X[:, :1] + 0.5)).astype(np.float32)

    def likelihood(outputs, y):
        return -float(np.mean(np.exp(outputs) - y * outputs))

    of_logarithms = subject((X, counts), "regression", 1, loss=nn.PoissonNLLLoss(), metric=likelihood)
    assert only("metric_mismatch", of_logarithms).status is Status.SKIPPED
    assert (
        only(
            "metric_mismatch",
            subject(
                (X, counts),
                "regression",
                1,
                loss=nn.MSELoss(),
                metric=lambda outputs, y: float(np.abs(outputs - y).mean()),
            ),
        ).status
        is Status.FAIL
    )


@pytest.mark.parametrize("shuffle", [True, False])
def test_rows_keep_their_order_where_the_training_does(subject, shuffle):
    """Splits drawn from sorted rows leave the rest sorted for a training that doesn't shuffle."""
    X, y = rows()
    order = np.argsort(y, kind="stable")
    labels = load_raw(subject((X[order], y[order]), shuffle=shuffle).target).train.y
    assert bool((np.diff(labels) >= 0).all()) is not shuffle
