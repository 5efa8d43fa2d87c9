"""Faults of the user's own training loop, each planted in a loop that is sound without it."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from firstfault import Training
from firstfault.finding import Status


def network(dropout=0.2):
    """A small classifier of 30 columns, without and with dropout."""
    return nn.Sequential(nn.LazyBatchNorm1d(), nn.LazyLinear(24), nn.ReLU(), nn.Dropout(dropout), nn.Linear(24, 2))


def loop(*, zero=True, switch=True, sign=1.0, contaminated=False, only=lambda name: True, accumulate=1, early=False):
    """A training loop with one thing wrong, or none."""

    def fit(model, train_loader, validation_loader):
        loss = nn.CrossEntropyLoss()
        optimizer = torch.optim.Adam([value for name, value in model.named_parameters() if only(name)], lr=5e-3)
        for _ in range(8):
            model.train()
            for loader in (train_loader, validation_loader) if contaminated else (train_loader,):
                for number, (x, y) in enumerate(loader):
                    if zero and number % accumulate == 0:
                        optimizer.zero_grad()
                    (sign * loss(model(x), y)).backward()
                    if early:  # a look at one validation batch between two training steps
                        with torch.no_grad():
                            model(next(iter(validation_loader))[0])
                    if (number + 1) % accumulate == 0:
                        optimizer.step()
            if switch:
                model.eval()
            with torch.no_grad():
                for x, _ in validation_loader:
                    model(x)

    return fit


FAULTY = {
    "missing_zero_grad": {"zero": False},
    "missing_eval_mode": {"switch": False},
    "validation_contamination": {"contaminated": True},
    "flipped_loss_sign": {"sign": -1.0},
    "parameters_not_in_optimizer": {"only": lambda name: name.startswith("4")},
}


BESIDE = {
    "missing_zero_grad": sorted(set(FAULTY) - {"missing_zero_grad"}),
    "parameters_not_in_optimizer": ["missing_zero_grad"],
}
"""Checks that a fault looks like, and that are not to fail: gradients pile up where nothing clears them."""


@pytest.fixture
def examined(make, run):
    """A function that gives the findings of some checks, by name, on breast cancer with a loop."""

    def findings(checks, **wrong):
        subject = make("breast_cancer", model=network, training=Training(fit=loop(**wrong), batch_size=32))
        found = {check: run(check, subject) for check in checks}
        assert {len(each) for each in found.values()} == {1}
        return {check: each[0] for check, each in found.items()}

    return findings


@pytest.mark.parametrize("fault", FAULTY)
def test_a_planted_fault_is_found_by_its_own_check(examined, fault):
    """The check named after the fault fails, with that fault as evidence, and none that it looks like."""
    found = examined([fault, *BESIDE.get(fault, ())], **FAULTY[fault])
    assert [check for check, finding in found.items() if finding.status is Status.FAIL] == [fault]
    assert fault in found[fault].faults


@pytest.mark.parametrize(
    "sound", [{}, {"accumulate": 3}, {"early": True}], ids=["plain", "accumulation", "a look aside"]
)
def test_a_sound_loop_is_not_blamed(examined, sound):
    """Neither a plain loop, nor accumulation of gradients, nor looking at a validation batch between steps."""
    asked = set(FAULTY) - ({"missing_eval_mode"} if "early" in sound else set())  # that look is one in train mode
    assert not [check for check, finding in examined(asked, **sound).items() if finding.status is Status.FAIL]


def mistaken(outputs, y):
    """Accuracy of the first column."""
    return float(np.mean(outputs[:, 0].argmax(-1) == y)) * 0


def loss_as_metric(outputs, y):
    """Lower is better, which is the wrong way round."""
    return float(nn.functional.cross_entropy(torch.as_tensor(outputs), torch.as_tensor(y).long()))


def share_right(outputs, y):
    """A sound metric of the user's own."""
    return float(np.mean(outputs.argmax(-1) == y))


@pytest.mark.parametrize(
    ("metric", "fails"), [(mistaken, True), (loss_as_metric, True), (share_right, False), ("f1", False), (None, False)]
)
def test_a_metric_must_prefer_right_answers(make, only, metric, fails):
    """A metric that a constant answer satisfies as well is a mismatch."""
    subject = make("breast_cancer", model=network, training=Training(metric=metric, epochs=1))
    assert subject.outputs is not None
    assert (only("metric_mismatch", subject).status is Status.FAIL) is fails


def test_accuracy_of_a_regression_is_a_mismatch(make, only):
    """There are no classes to count."""
    subject = make("diabetes", model=lambda: nn.Linear(10, 1), training=Training(metric="accuracy", epochs=1))
    assert only("metric_mismatch", subject).status is Status.FAIL


def batches_of_24(shuffle):
    """A loader of the user's own."""
    return lambda x, y, split: DataLoader(TensorDataset(x, y), batch_size=24, shuffle=shuffle and split == "train")


@pytest.mark.parametrize("ordered", [True, False], ids=["sorted", "as it is"])
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("source", [load_breast_cancer, load_digits])
def test_a_loader_of_sorted_batches_is_found(make, only, source, shuffle, ordered):
    """What counts is the order in which the user's loader gives the rows."""
    X, y = source(return_X_y=True)
    order = np.argsort(y, kind="stable") if ordered else np.arange(len(y))
    splits = {"validation": (X, y), "test": (X, y)}
    subject = make((X[order], y[order]), model=network, data=splits, training=Training(loader=batches_of_24(shuffle)))
    assert (only("no_shuffle", subject).status is Status.FAIL) is (ordered and not shuffle)


@pytest.mark.parametrize("ordered", [True, False], ids=["sorted", "as it is"])
def test_small_batches_of_many_classes_are_compared_with_as_small_ones(make, only, ordered):
    """Eight rows hold little of a hundred classes in any order: only sorted ones hold less than others."""
    generator = np.random.default_rng(5)
    y = generator.integers(0, 100, 1600)
    X = generator.normal(size=(1600, 4)).astype(np.float32)
    subject = make(
        (X, np.sort(y) if ordered else y),
        model=lambda: nn.Linear(4, 100),
        training=Training(shuffle=False, batch_size=8, epochs=1),
    )
    assert (only("no_shuffle", subject).status is Status.FAIL) is ordered
