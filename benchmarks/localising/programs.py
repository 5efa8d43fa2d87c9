"""Ten kinds of healthy programs; sizes, widths, rates, seeds and loops are drawn at random from the ranges stated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn import datasets
from sklearn.preprocessing import StandardScaler
from torch import nn

from firstfault import Data, Deployment, Target, Training

Rng = np.random.Generator


@dataclass
class Program:
    """A program in parts, so that a fault can be planted in one of them."""

    kind: str
    task: str
    data: dict[str, Any]
    build: Callable[[], nn.Module]
    loss: Any
    rate: float
    epochs: int
    batch_size: int
    preprocess: Any = None
    prepare: Any = None
    optimizer: type[torch.optim.Optimizer] = torch.optim.Adam
    own_loop: bool = False
    training: dict[str, Any] = field(default_factory=dict)
    deployment: Deployment | None = None
    seed: int = 0

    def target(self, name: str) -> Target:
        """The target that firstfault is given."""
        settings = {
            "loss": self.loss,
            "optimizer": partial(self.optimizer, lr=self.rate),
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "seed": self.seed,
            **self.training,
        }
        if self.own_loop and "fit" not in settings:
            settings["fit"] = loop(self.loss, self.optimizer, self.rate, self.epochs)
        return Target(
            name,
            task=self.task,
            data=Data(**self.data),
            preprocess=self.preprocess,
            prepare=self.prepare,
            model=self.build,
            training=Training(**settings),
            deployment=self.deployment,
        )


def loop(
    loss: Any,
    optimizer: Any,
    rate: float,
    epochs: int,
    *,
    zero: bool = True,
    switch: bool = True,
    only: Callable[[str], bool] = lambda name: True,
    sign: float = 1.0,
    clip: float | None = None,
) -> Callable[..., nn.Module]:
    """A training loop as users write it; the keywords leave out what users forget."""

    def fit(model: nn.Module, train_loader: Any, validation_loader: Any) -> nn.Module:
        updates = optimizer([value for name, value in model.named_parameters() if only(name)], lr=rate)
        for _ in range(epochs):
            model.train()
            for x, y in train_loader:
                if zero:
                    updates.zero_grad()
                outputs = model(x)
                (sign * loss(outputs, y)).backward()
                if clip is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), clip)
                updates.step()
            if switch:
                model.eval()
            with torch.no_grad():
                for x, y in validation_loader:
                    loss(model(x), y)
        return model

    return fit


def tabular(rng: Rng, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Clusters in 6–24 columns `(N, D)` on scales from 0.1 to 100, 500–1,600 rows."""
    columns = int(rng.integers(6, 25))
    X, y = datasets.make_classification(
        int(rng.integers(500, 1600)),
        columns,
        n_informative=max(4, columns // 2),
        n_redundant=1,
        n_classes=classes,
        n_clusters_per_class=1,
        class_sep=float(rng.uniform(1.2, 2.0)),
        flip_y=0.01,
        random_state=int(rng.integers(1 << 30)),
    )
    return (X * 10 ** rng.uniform(-1, 2, columns) + rng.normal(0, 5, columns)).astype(np.float32), y


def mlp(inputs: int, outputs: int, rng: Rng) -> Callable[[], nn.Module]:
    """One to three hidden layers of 16–96 units, sometimes with dropout or batch normalisation."""
    widths = [int(rng.integers(16, 97)) for _ in range(int(rng.integers(1, 4)))]
    activation = [nn.ReLU, nn.GELU, nn.Tanh, nn.SiLU][int(rng.integers(4))]
    dropout, norm = float(rng.choice([0.0, 0.1, 0.2])), bool(rng.random() < 0.25)

    def build() -> nn.Module:
        parts: list[nn.Module] = []
        for before, width in zip([inputs, *widths], widths, strict=False):
            parts += [nn.Linear(before, width), *([nn.BatchNorm1d(width)] if norm else []), activation()]
            parts += [nn.Dropout(dropout)] if dropout else []
        return nn.Sequential(*parts, nn.Linear(widths[-1], outputs))

    return build


def common(rng: Rng) -> dict[str, Any]:
    """What all programs draw alike: batch size, loop, seed, optimizer."""
    return {
        "batch_size": int(rng.choice([16, 32, 64])),
        "own_loop": bool(rng.random() < 0.35),
        "seed": int(rng.integers(100)),
    }


def classifier(rng: Rng) -> Program:
    """2–5 classes of a table, standardised, cross-entropy."""
    classes = int(rng.integers(2, 6))
    X, y = tabular(rng, classes)
    return Program(
        "multi-class table",
        "classification",
        {"train": (X, y)},
        mlp(X.shape[1], classes, rng),
        nn.CrossEntropyLoss(),
        float(rng.uniform(2e-3, 8e-3)),
        int(rng.integers(12, 25)),
        preprocess=StandardScaler(),
        **common(rng),
    )


def real_table(rng: Rng) -> Program:
    """Breast cancer or wine, standardised."""
    X, y = (datasets.load_breast_cancer, datasets.load_wine)[int(rng.integers(2))](return_X_y=True)
    return Program(
        "real table",
        "classification",
        {"train": (X, y)},
        mlp(X.shape[1], int(y.max()) + 1, rng),
        nn.CrossEntropyLoss(),
        float(rng.uniform(3e-3, 1e-2)),
        int(rng.integers(20, 35)),
        preprocess=StandardScaler(),
        **common(rng) | {"batch_size": 16},
    )


def squeezed(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """A model with one output `(N, 1)` made `(N,)`."""
    return lambda: nn.Sequential(build(), nn.Flatten(0))


def binary_loss(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy on logits `(N,)` or `(N, 1)`."""
    return nn.functional.binary_cross_entropy_with_logits(outputs.reshape(len(y)), y.float())


def binary(rng: Rng) -> Program:
    """A table with one logit."""
    X, y = tabular(rng, 2)
    return Program(
        "binary table",
        "classification",
        {"train": (X, y)},
        mlp(X.shape[1], 1, rng),
        binary_loss,
        float(rng.uniform(2e-3, 8e-3)),
        int(rng.integers(12, 25)),
        preprocess=StandardScaler(),
        **common(rng),
    )


def multilabel(rng: Rng) -> Program:
    """3–6 labels per row of a table."""
    labels, columns, n = int(rng.integers(3, 7)), int(rng.integers(8, 20)), int(rng.integers(600, 1500))
    X = rng.normal(size=(n, columns)).astype(np.float32)
    y = (X @ rng.normal(size=(columns, labels)) + rng.normal(0, 0.5, (n, labels)) > 0).astype(np.float32)
    return Program(
        "multi-label table",
        "multilabel",
        {"train": (X * 4 + 1, y)},
        mlp(columns, labels, rng),
        nn.BCEWithLogitsLoss(),
        float(rng.uniform(3e-3, 8e-3)),
        int(rng.integers(12, 25)),
        preprocess=StandardScaler(),
        **common(rng),
    )


def regression(rng: Rng) -> Program:
    """A smooth function of a table, target of unit scale `(N, 1)`."""
    columns, n = int(rng.integers(5, 15)), int(rng.integers(600, 1600))
    X = rng.normal(size=(n, columns)).astype(np.float32)
    y = np.tanh(X @ rng.normal(size=columns)) + 0.5 * X[:, 0] + rng.normal(0, 0.1, n)
    y = ((y - y.mean()) / y.std()).astype(np.float32)[:, None]
    return Program(
        "regression",
        "regression",
        {"train": (X * 20 - 7, y)},
        mlp(columns, 1, rng),
        nn.MSELoss(),
        float(rng.uniform(2e-3, 6e-3)),
        int(rng.integers(20, 35)),
        preprocess=StandardScaler(),
        **common(rng),
    )


def scaled(images: np.ndarray) -> np.ndarray:
    """Pixels to 0–1."""
    return images / 16


def digits(rng: Rng) -> Program:
    """1,000–1,797 handwritten digits and a small CNN."""
    X, y = datasets.load_digits(return_X_y=True)
    rows = rng.permutation(len(X))[: int(rng.integers(1000, len(X)))]
    width, norm = int(rng.choice([8, 12, 16])), bool(rng.random() < 0.4)

    def build() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            *([nn.BatchNorm2d(width)] if norm else []),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(8 * width, 10),
        )

    images = X[rows].reshape(-1, 1, 8, 8).astype(np.float32)
    return Program(
        "image CNN",
        "classification",
        {"train": (images, y[rows])},
        build,
        nn.CrossEntropyLoss(),
        float(rng.uniform(2e-3, 5e-3)),
        int(rng.integers(8, 13)),
        preprocess=scaled,
        **common(rng),
    )


class Recurrent(nn.Module):
    """A GRU or LSTM over `(N, T, D)`, its last state classified."""

    def __init__(self, columns: int, width: int, classes: int, kind: type) -> None:
        super().__init__()
        self.cells, self.head = kind(columns, width, batch_first=True), nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits `(N, K)`."""
        return self.head(self.cells(x)[0][:, -1])


def sequences(rng: Rng) -> Program:
    """Noisy waves whose frequency is the class, and an RNN."""
    classes, n, length, width = (
        int(rng.integers(2, 5)),
        int(rng.integers(600, 1200)),
        int(rng.integers(12, 21)),
        int(rng.integers(24, 49)),
    )
    y, t = rng.integers(0, classes, n), np.arange(length)
    waves = np.sin(t[None] * (0.3 + 0.35 * y[:, None]) + rng.uniform(0, 6, (n, 1)))
    X = (np.stack([waves, np.roll(waves, 1, 1)], 2) + rng.normal(0, 0.1, (n, length, 2))).astype(np.float32)
    kind = (nn.GRU, nn.LSTM)[int(rng.integers(2))]
    return Program(
        "sequence RNN",
        "classification",
        {"train": (X, y)},
        partial(Recurrent, 2, width, classes, kind),
        nn.CrossEntropyLoss(),
        float(rng.uniform(5e-3, 1e-2)),
        int(rng.integers(15, 22)),
        **common(rng) | {"batch_size": 32},
    )


class Encoder(nn.Module):
    """A transformer over token ids `(N, T)`: causal with a logit per token, or pooled with one per class."""

    def __init__(
        self, vocabulary: int, length: int, outputs: int, causal: bool, width: int = 32, masked: bool = True
    ) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(vocabulary, width), nn.Parameter(torch.randn(length, width) * 0.02)
        self.causal, self.masked = causal, causal and masked
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.layers, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(width, outputs)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits `(N, T, K)` or `(N, K)`."""
        length = ids.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length) if self.masked else None
        hidden = self.layers(self.words(ids) + self.places[:length], mask=mask)
        return self.head(hidden if self.causal else hidden.mean(1))


def encoder(rng: Rng) -> Program:
    """Token ids whose class is which of some tokens occurs, and a transformer encoder."""
    vocabulary, length, n, classes = (
        int(rng.integers(15, 30)),
        int(rng.integers(8, 13)),
        int(rng.integers(800, 1300)),
        int(rng.integers(2, 4)),
    )
    X, y = rng.integers(classes, vocabulary, (n, length)), rng.integers(0, classes, n)
    X[np.arange(n), rng.integers(0, length, n)] = y
    return Program(
        "transformer encoder",
        "classification",
        {"train": (X, y)},
        partial(Encoder, vocabulary, length, classes, False),
        nn.CrossEntropyLoss(),
        float(rng.uniform(1e-3, 3e-3)),
        int(rng.integers(10, 16)),
        **common(rng) | {"batch_size": 32},
    )


def token_loss(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of logits `(N, T, V)` against ids `(N, T)`."""
    return nn.functional.cross_entropy(outputs.flatten(0, 1), y.flatten())


def language(rng: Rng) -> Program:
    """Counting by 1–3 modulo the vocabulary, a tenth of the tokens random, and a causal transformer."""
    vocabulary, length, n = int(rng.integers(12, 24)), int(rng.integers(8, 13)), int(rng.integers(600, 1000))
    step = rng.integers(1, 4, (n, 1))
    ids = (rng.integers(0, vocabulary, (n, 1)) + step * np.arange(length + 1)) % vocabulary
    ids = np.where(rng.random(ids.shape) < 0.1, rng.integers(0, vocabulary, ids.shape), ids)
    return Program(
        "causal transformer",
        "language_model",
        {"train": (ids[:, :-1], ids[:, 1:])},
        partial(Encoder, vocabulary, length, vocabulary, True),
        token_loss,
        float(rng.uniform(2e-3, 4e-3)),
        int(rng.integers(10, 16)),
        **common(rng) | {"batch_size": 32},
    )


def autoencoder(rng: Rng) -> Program:
    """A table of low rank, compressed and restored."""
    n, columns, rank = int(rng.integers(600, 1200)), int(rng.integers(12, 25)), int(rng.integers(3, 6))
    X = (rng.normal(size=(n, rank)) @ rng.normal(size=(rank, columns)) / np.sqrt(rank)).astype(np.float32)
    width = int(rng.integers(24, 65))

    def build() -> nn.Module:
        return nn.Sequential(
            nn.Linear(columns, width),
            nn.ReLU(),
            nn.Linear(width, rank + 1),
            nn.Linear(rank + 1, width),
            nn.ReLU(),
            nn.Linear(width, columns),
        )

    return Program(
        "autoencoder",
        "regression",
        {"train": (X, X)},
        build,
        nn.MSELoss(),
        float(rng.uniform(2e-3, 6e-3)),
        int(rng.integers(20, 35)),
        **common(rng),
    )


PROGRAMS = (classifier, real_table, binary, multilabel, regression, digits, sequences, encoder, language, autoencoder)
