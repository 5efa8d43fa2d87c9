"""Programs of nine kinds that train soundly in a second and can be given a fault, and what the layer says of them."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from firstfault import Data, Target, Training
from firstfault.check import Depth, run_checks
from firstfault.finding import Layer, Status
from firstfault.standing import suspected
from firstfault.subject.subject import Subject

ROWS, LENGTH, WORDS, WIDTH = 400, 8, 12, 16


def table(columns=6):
    """Rows `(N, 6)` of standard scale."""
    return np.random.default_rng(0).normal(size=(ROWS, columns)).astype(np.float32)


def classes():
    """Which of three columns is the largest."""
    X = table()
    return X, X[:, :3].argmax(1)


def images():
    """Images `(N, 1, 8, 8)` with a bright row or column: which third of them it is in."""
    rng = np.random.default_rng(1)
    y, X = rng.integers(0, 3, ROWS), rng.random((ROWS, 1, 8, 8)) * 0.5
    X[np.arange(ROWS), 0, :, 2 * y] += 0.7
    return X.astype(np.float32), y


def waves():
    """Sequences `(N, T, 2)` whose frequency is the class."""
    rng = np.random.default_rng(2)
    y = rng.integers(0, 2, ROWS)
    wave = np.sin(np.arange(LENGTH) * (0.3 + 1.0 * y[:, None]) + rng.uniform(0, 6, (ROWS, 1)))
    return np.stack([wave, np.roll(wave, 1, 1)], 2).astype(np.float32), y


def sentences():
    """Token ids `(N, T)`; the class is which of the first tokens occurs."""
    rng = np.random.default_rng(3)
    X, y = rng.integers(2, WORDS, (ROWS, LENGTH)), rng.integers(0, 2, ROWS)
    X[np.arange(ROWS), rng.integers(0, LENGTH, ROWS)] = y
    return X, y


def counting():
    """Token ids `(N, T)` that count by 1, and the next ones."""
    ids = (np.random.default_rng(4).integers(0, WORDS, (ROWS, 1)) + np.arange(LENGTH + 1)) % WORDS
    return ids[:, :-1], ids[:, 1:]


def low_rank():
    """A table `(N, 8)` of rank 3, to be restored."""
    rng = np.random.default_rng(5)
    X = (rng.normal(size=(ROWS, 3)) @ rng.normal(size=(3, 8)) / 2).astype(np.float32)
    return X, X


def heights():
    """A number of unit scale `(N, 1)`."""
    X = table()
    return X, ((X[:, :1] * 2 + X[:, 1:2]) / 2.2).astype(np.float32)


def halves():
    """Whether the sum of two columns is positive."""
    X = table()
    return X, (X[:, 0] + X[:, 1] > 0).astype(int)


def several():
    """Three questions of each row."""
    X = table()
    return X, (X[:, :3] > 0).astype(np.float32)


def dense(inputs, outputs, activation=nn.ReLU, width=24):
    """Two hidden layers."""
    return nn.Sequential(
        nn.Linear(inputs, width),
        activation(),
        nn.Linear(width, width),
        activation(),
        nn.Dropout(0.05),
        nn.Linear(width, outputs),
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
        nn.Linear(32, 3),
    )


class Recurrent(nn.Module):
    """A GRU whose last state is classified."""

    def __init__(self):
        super().__init__()
        self.cells, self.head = nn.GRU(2, WIDTH, batch_first=True), nn.Linear(WIDTH, 2)

    def forward(self, x):
        return self.head(self.cells(x)[0][:, -1])


class Transformer(nn.Module):
    """Token ids to logits per sample, or per position when it is causal."""

    def __init__(self, causal=False):
        super().__init__()
        self.words, self.places, self.causal = (
            nn.Embedding(WORDS, WIDTH),
            nn.Parameter(torch.randn(LENGTH, WIDTH) * 0.1),
            causal,
        )
        layer = nn.TransformerEncoderLayer(WIDTH, 2, 32, dropout=0.05, batch_first=True, norm_first=True)
        self.layers, self.head = (
            nn.TransformerEncoder(layer, 1, enable_nested_tensor=False),
            nn.Linear(WIDTH, WORDS if causal else 2),
        )

    def forward(self, ids):
        mask = nn.Transformer.generate_square_subsequent_mask(ids.shape[1]) if self.causal else None
        x = self.layers(self.words(ids) + self.places[: ids.shape[1]], mask=mask)
        return self.head(x if self.causal else x.mean(1))


def one_logit(outputs, y):
    """Binary cross-entropy of logits `(N, 1)`."""
    return F.binary_cross_entropy_with_logits(outputs.reshape(len(y)), y.float())


def of_tokens(outputs, y):
    """Cross-entropy of `(N, T, V)` against `(N, T)`."""
    return F.cross_entropy(outputs.flatten(0, 1), y.flatten())


KINDS = {
    "mlp": (lambda: dense(6, 3), classes, "classification", nn.CrossEntropyLoss(), 1e-2, 8),
    "cnn": (cnn, images, "classification", nn.CrossEntropyLoss(), 5e-3, 5),
    "rnn": (Recurrent, waves, "classification", nn.CrossEntropyLoss(), 2e-2, 10),
    "encoder": (Transformer, sentences, "classification", nn.CrossEntropyLoss(), 1e-2, 6),
    "causal": (lambda: Transformer(True), counting, "language_model", of_tokens, 1e-2, 6),
    "autoencoder": (lambda: dense(8, 8, nn.Tanh), low_rank, "regression", nn.MSELoss(), 1e-2, 15),
    "regression": (lambda: dense(6, 1, nn.SiLU), heights, "regression", nn.MSELoss(), 1e-2, 12),
    "binary": (lambda: dense(6, 1, nn.GELU), halves, "classification", one_logit, 5e-3, 8),
    "multilabel": (lambda: dense(6, 3, nn.LeakyReLU), several, "multilabel", nn.BCEWithLogitsLoss(), 1e-2, 8),
}


@pytest.fixture
def program(tmp_path):
    """A function that makes the Subject of a kind of program with other parts; `arrange(X, y)` splits its rows."""

    def build(kind, *, model=None, arrange=None, task=None, rate=None, optimizer=torch.optim.Adam, **training):
        healthy, source, usual, loss, usual_rate, epochs = KINDS[kind]
        settings = {
            "loss": loss,
            "optimizer": partial(optimizer, lr=rate or usual_rate),
            "epochs": epochs,
            "batch_size": 32,
            **training,
        }
        source = arrange(*source()) if arrange is not None else {"train": source()}
        target = Target(
            kind, task=task or usual, data=Data(**source), model=model or healthy, training=Training(**settings)
        )
        return Subject(target, tmp_path / f"run{len(list(tmp_path.iterdir()))}")

    return build


@pytest.fixture
def suspects():
    """A function that runs the training layer on a subject: the faults it suspects, the surest first, and how much."""

    def of(subject, depth=Depth.QUICK):
        report = run_checks(Layer.TRAINING, subject, depth)
        assert not [finding for finding in report.findings if finding.status is Status.ERROR], report.findings
        return suspected(report)

    return of
