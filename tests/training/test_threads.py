"""A target is examined with one thread where its steps are too small to be shared."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from firstfault import Data, Target, Training
from firstfault.check import Depth
from firstfault.diagnosis import diagnose
from firstfault.finding import Layer
from firstfault.subject.subject import Subject
from firstfault.subject.threads import fitting, has_small_steps


@pytest.fixture(autouse=True)
def two_threads():
    """A process that uses two threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def subject_of(folder, width: int, seen: list[int] | None = None) -> Subject:
    """A target with a network of some width, whose calls note the number of threads."""
    X = np.random.default_rng(0).normal(size=(400, 16)).astype(np.float32)

    def build() -> nn.Module:
        model = nn.Sequential(nn.Linear(16, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2))
        model.register_forward_hook(lambda *_: seen.append(torch.get_num_threads()) if seen is not None else None)
        return model

    data = Data(train=(X, (X[:, 0] > 0).astype(int)))
    return Subject(Target("net", task="classification", data=data, model=build, training=Training(epochs=2)), folder)


def test_a_small_network_gets_one_thread(tmp_path):
    """Inside the block one thread works, and after it as many as before."""
    subject = subject_of(tmp_path, 8)
    with fitting(subject, Layer.TRAINING):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def test_a_large_network_keeps_its_threads(tmp_path):
    """A forward pass of more than 10 ms is shared."""
    subject = subject_of(tmp_path, 4096)
    assert not has_small_steps(subject)
    with fitting(subject, Layer.TRAINING):
        assert torch.get_num_threads() == 2


def test_a_network_that_fails_keeps_its_threads(tmp_path):
    """What the user's model does with a batch is judged by its layer, and raises nothing here."""
    subject = subject_of(tmp_path, 8)
    subject.model.register_forward_hook(lambda *_: 1 / 0)
    with fitting(subject, Layer.TRAINING):
        assert torch.get_num_threads() == 2


def test_a_whole_diagnosis_trains_with_one_thread(tmp_path):
    """The training that is judged, too, runs on one thread; the caller's number is left as it was."""
    seen: list[int] = []
    subject = subject_of(tmp_path, 8, seen)
    diagnose(subject, Depth.QUICK, only=Layer.TRAINING)
    assert set(seen) == {1} and torch.get_num_threads() == 2
