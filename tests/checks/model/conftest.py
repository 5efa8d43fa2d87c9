"""Networks of several architectures with their data, in which a fault can be planted, and the layer's failures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from firstfault import Data, Target, Training
from firstfault.check import Depth, run_check, run_checks
from firstfault.finding import Layer, Status
from firstfault.subject.subject import Subject

CLASSES, LENGTH, WORDS, WIDTH = 3, 10, 20, 16


def table(n=200):
    """Rows `(N, 8)` of three classes."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 8)).astype(np.float32)
    return X, X[:, :CLASSES].argmax(1)


def images(n=200):
    """Images `(N, 1, 8, 8)` whose brightest third is the class."""
    rng = np.random.default_rng(1)
    y = rng.integers(0, CLASSES, n)
    X = rng.random((n, 1, 8, 8)) * 0.5
    X[np.arange(n), 0, :, 2 * y] += 0.5
    return X.astype(np.float32), y


def waves(n=200):
    """Sequences `(N, T, 2)` whose frequency is the class."""
    rng = np.random.default_rng(2)
    y = rng.integers(0, CLASSES, n)
    wave = np.sin(np.arange(LENGTH) * (0.3 + 0.4 * y[:, None]) + rng.uniform(0, 6, (n, 1)))
    return np.stack([wave, np.roll(wave, 1, 1)], 2).astype(np.float32), y


def sentences(n=200):
    """Token ids `(N, T)`; the class is which of the first tokens occurs."""
    rng = np.random.default_rng(3)
    X, y = rng.integers(CLASSES, WORDS, (n, LENGTH)), rng.integers(0, CLASSES, n)
    X[np.arange(n), rng.integers(0, LENGTH, n)] = y
    return X, y


def counting(n=200):
    """Token ids `(N, T)` that count, and the next ones."""
    rng = np.random.default_rng(4)
    ids = (rng.integers(0, WORDS, (n, 1)) + rng.integers(1, 4, (n, 1)) * np.arange(LENGTH + 1)) % WORDS
    return ids[:, :-1], ids[:, 1:]


class Block(nn.Module):
    """A pre-norm transformer block over `(N, T, D)`."""

    def __init__(self, causal=False):
        super().__init__()
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention, self.causal = nn.MultiheadAttention(WIDTH, 2, batch_first=True), causal
        self.feed = nn.Sequential(nn.Linear(WIDTH, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, WIDTH))

    def forward(self, x):
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1]) if self.causal else None
        h = self.first(x)
        x = x + self.attention(h, h, h, attn_mask=mask, need_weights=False)[0]
        return x + self.feed(self.second(x))


class Transformer(nn.Module):
    """Token ids to logits per sample, or per position when it is causal."""

    def __init__(self, causal=False, layers=2):
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, WIDTH), nn.Parameter(torch.randn(LENGTH, WIDTH) * 0.1)
        self.layers = nn.ModuleList(Block(causal) for _ in range(layers))
        self.head, self.causal = nn.Linear(WIDTH, WORDS if causal else CLASSES), causal

    def forward(self, ids):
        x = self.words(ids) + self.places[: ids.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return self.head(x if self.causal else x.mean(1))


class Recurrent(nn.Module):
    """A GRU whose last state is classified."""

    def __init__(self):
        super().__init__()
        self.cells, self.hidden = nn.GRU(2, WIDTH, batch_first=True), nn.Linear(WIDTH, WIDTH)
        self.drop, self.head = nn.Dropout(0.1), nn.Linear(WIDTH, CLASSES)

    def forward(self, x):
        return self.head(self.drop(torch.relu(self.hidden(self.cells(x)[0][:, -1]))))


def mlp():
    """Three hidden layers."""
    return nn.Sequential(
        nn.Linear(8, 24),
        nn.ReLU(),
        nn.Linear(24, 24),
        nn.BatchNorm1d(24),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.Linear(24, 24),
        nn.ReLU(),
        nn.Linear(24, CLASSES),
    )


def cnn():
    """Two convolutions with batch normalisation."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(32, CLASSES),
    )


def autoencoder():
    """Eight columns through four."""
    return nn.Sequential(
        nn.Linear(8, 24),
        nn.ReLU(),
        nn.Linear(24, 4),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.Linear(4, 24),
        nn.ReLU(),
        nn.Linear(24, 8),
    )


KINDS = {
    "mlp": (mlp, table, "classification"),
    "cnn": (cnn, images, "classification"),
    "rnn": (Recurrent, waves, "classification"),
    "encoder": (Transformer, sentences, "classification"),
    "causal": (lambda: Transformer(True), counting, "language_model"),
    "autoencoder": (autoencoder, lambda: (table()[0], table()[0]), "regression"),
}


@pytest.fixture
def network(tmp_path):
    """A function that makes a Subject of a kind of network: `plant(model)` changes it; parts can be replaced."""

    def build(kind, plant=None, *, model=None, layers=None, data=None, task=None, **training):
        healthy, source, usual = KINDS[kind]
        factory = model or (healthy if layers is None else lambda: Transformer(kind == "causal", layers))

        def planted():
            made = factory()
            if plant is not None:
                plant(made)
            return made

        target = Target(
            kind,
            task=task or usual,
            data=Data(train=data or source()),
            model=planted,
            training=Training(**{"epochs": 4, "batch_size": 32, **training}),
        )
        return Subject(target, tmp_path / f"run{len(list(tmp_path.iterdir()))}")

    return build


@pytest.fixture
def faults():
    """A function that runs the whole model layer on a subject: the faults it fails with, and their weights."""

    def of(subject):
        report = run_checks(Layer.MODEL, subject, Depth.QUICK)  # the dearer check never fails alone
        assert not [finding for finding in report.findings if finding.status is Status.ERROR], report.findings
        return {fault: weight for finding in report.failures for fault, weight in finding.faults.items()}

    return of


@pytest.fixture
def status():
    """A function that gives the most serious status of one check on a subject."""
    from firstfault.check import checks_of
    from firstfault.finding import worst

    def of(name, subject):
        entry = next(entry for entry in checks_of(Layer.MODEL) if entry.name == name)
        return worst([finding.status for finding in run_check(entry, subject, {})])

    return of


@pytest.fixture
def ending():
    """A function that gives a factory of a kind's usual network with a function of its outputs."""

    def factory(kind, act):
        class Then(nn.Module):
            def __init__(self):
                super().__init__()
                self.body = KINDS[kind][0]()

            def forward(self, x):
                return act(self.body(x))

        return Then

    return factory
