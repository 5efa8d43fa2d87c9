"""Small targets on synthetic data, and reports that suspect a fault, for the tests of swaps and sweeps."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from firstfault import Data, Target, Training
from firstfault.finding import Finding, Layer, LayerReport, Status
from firstfault.subject.subject import Subject


def blobs(n=600, classes=3, columns=8, seed=0):
    """Gaussian clusters `(n, columns)` that a small network separates."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(classes, columns)) * 1.5
    y = random.integers(0, classes, n)
    return (centres[y] + random.normal(size=(n, columns))).astype(np.float32), y


def network(columns=8, outputs=3):
    return nn.Sequential(nn.Linear(columns, 32), nn.ReLU(), nn.Linear(32, outputs))


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch):
    """Every test has a state folder of its own."""
    monkeypatch.setenv("FIRSTFAULT_HOME", str(tmp_path / "state"))


@pytest.fixture
def subject_of(tmp_path: Path):
    """A function that makes the subject of a small classification; keywords go to Training."""

    def make(*, lr=1e-2, model=network, data=None, task="classification", folder="run", **settings):
        usual = {
            "loss": nn.CrossEntropyLoss(),
            "optimizer": partial(torch.optim.Adam, lr=lr),
            "epochs": 6,
            "batch_size": 32,
        }
        target = Target(
            "small",
            task=task,
            data=Data(train=data or blobs()),
            model=model,
            root=tmp_path,
            training=Training(**{**usual, **settings}),
        )
        return Subject(target, tmp_path / folder)

    return make


@pytest.fixture
def suspect():
    """A function that makes a layer's report with one failed finding for the given faults."""

    def make(faults, layer=Layer.TRAINING, extra=()):
        planted = Finding("planted", layer, Status.FAIL, "planted", faults=faults)
        return LayerReport(layer, (planted, *extra), 0.0)

    return make
