"""Simple models as marks: what they are for each task, and that nothing is compared where nothing can be."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, load_wine
from sklearn.decomposition import PCA
from torch import nn

from firstfault import Data, Target, Training
from firstfault.checks.training._performance_gap import shortfall
from firstfault.metrics import metric_of
from firstfault.subject.baselines import baselines
from firstfault.subject.subject import Subject
from firstfault.subject.width import narrowest, stochastic


class Compressor(nn.Module):
    """Restores rows `(N, D)` through a few numbers, which are drawn in training where it is variational."""

    def __init__(self, columns, width, variational=False):
        super().__init__()
        self.down, self.up, self.variational = nn.Linear(columns, width), nn.Linear(width, columns), variational
        self.dropout = nn.Dropout(0.1)

    def forward(self, x):
        code = self.down(x)
        if self.variational and self.training:
            code = code + torch.randn_like(code)
        return self.up(self.dropout(code))


class Bag(nn.Module):
    """Token ids `(N, T)`, embedded and averaged."""

    def __init__(self):
        super().__init__()
        self.words, self.head = nn.Embedding(30, 8), nn.Linear(8, 2)

    def forward(self, ids):
        return self.head(self.words(ids).mean(1))


def rows(n=500, columns=8, seed=0):
    """Rows `(N, D)` of standard scale."""
    return np.random.default_rng(seed).normal(size=(n, columns)).astype(np.float32)


def tokens():
    """Token ids `(N, T)`; the class is whether more of the first half occur."""
    ids = np.random.default_rng(1).integers(0, 30, (600, 9))
    return ids, ((ids < 15).sum(1) > 4).astype(int)


def pixels():
    """Digits `(N, 64)` of 0–1."""
    return (load_digits().data[:900] / 16).astype(np.float32)


@pytest.fixture
def subject(tmp_path):
    """A function that makes a subject of a source, a task and a model."""

    def build(source, task, model, rate=1e-2, **training):
        settings = {"optimizer": partial(torch.optim.Adam, lr=rate), "epochs": 10, "batch_size": 32, **training}
        return Subject(
            Target("t", task=task, data=Data(train=source), model=model, training=Training(**settings)), tmp_path
        )

    return build


def neither(outputs, y):
    """A metric that takes no outputs."""
    raise ValueError("nothing fits")


def negative_log_loss(outputs, y):
    """The mean log-probability `(N, K)` of the right class."""
    shares = np.exp(outputs - outputs.max(1, keepdims=True))
    return float(np.log(shares / shares.sum(1, keepdims=True) + 1e-9)[np.arange(len(y)), y].mean())


def test_several_labels_have_a_linear_model_each(subject):
    """One line separates each of three labels: the linear model finds them, a network of one epoch falls short, a
    trained one does not.
    """
    X = rows()
    data = (X, (X[:, :3] + X[:, 3:6] > 0).astype(np.float32))
    model = lambda: nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))  # noqa: E731
    short = subject(data, "multilabel", model, rate=1e-4, loss=nn.BCEWithLogitsLoss(), epochs=1)
    assert baselines(short).best > 0.95 and not baselines(short).constant
    assert shortfall(short).short
    assert not shortfall(subject(data, "multilabel", model, loss=nn.BCEWithLogitsLoss())).short


@pytest.mark.parametrize("width", [3, 8])
def test_an_autoencoder_is_compared_with_principal_components(subject, width):
    """As many as the network's narrowest part has units, whatever comes after it; the reference is scikit-learn's."""
    X = pixels()
    made = subject(
        (X, X),
        "regression",
        lambda: nn.Sequential(Compressor(64, 20), nn.ReLU(), Compressor(64, width)),
        loss=nn.MSELoss(),
    )
    train, held = made.recipe.train.x.numpy(), made.recipe.validation.x.numpy()
    pca = PCA(width).fit(train)
    restored = pca.inverse_transform(pca.transform(held))
    expected = 1 - ((restored - held) ** 2).mean() / held.var(0).mean()
    assert abs(baselines(made).best - expected) < 0.02


def test_a_network_without_a_narrow_part_is_compared_with_half_the_columns(subject):
    """Else the mark would be to restore everything."""
    X = rows()
    wide = subject((X, X), "regression", lambda: Compressor(8, 32), loss=nn.MSELoss())
    assert narrowest(wide, 8) == 4
    assert baselines(wide).best < 0.7


def test_a_variational_autoencoder_is_not_held_against_principal_components(subject):
    """What it draws costs it; dropout alone is no reason."""
    X = pixels()
    drawn, plain = (
        subject((X, X), "regression", partial(Compressor, 64, 6, kind), loss=nn.MSELoss()) for kind in (True, False)
    )
    assert stochastic(drawn) and baselines(drawn).constant
    assert not stochastic(plain) and not baselines(plain).constant


def test_token_ids_are_counted_for_a_model_that_embeds_them(subject):
    """And are numbers for one that does not."""
    assert baselines(subject(tokens(), "classification", Bag)).best > 0.95
    assert not baselines(subject(tokens(), "classification", lambda: nn.Linear(9, 2))).constant


def test_a_metric_of_the_users_own_is_asked_about_the_simple_models(subject):
    """Its scale is unknown, so that a number below zero is no shortfall.

    Where it can't be asked, nothing is compared.
    """
    X, y = load_wine(return_X_y=True)
    data = ((X - X.mean(0)) / X.std(0), y)
    model = lambda: nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 3))  # noqa: E731
    sound = subject((data[0].astype(np.float32), y), "classification", model, metric=negative_log_loss)
    assert baselines(sound).prior < baselines(sound).best < 0
    assert not shortfall(sound).short
    assert shortfall(
        subject((data[0].astype(np.float32), y), "classification", model, rate=1e-6, metric=negative_log_loss)
    ).short
    assert shortfall(subject((data[0].astype(np.float32), y), "classification", model, metric=neither)) is None


def test_weights_that_even_out_the_classes_are_the_linear_models_too(subject):
    """A loss that gives up accuracy for the rare class is compared with a linear model that does so.

    One that favours the frequent class is not.
    """
    rng = np.random.default_rng(3)
    y = (rng.random(900) < 0.15).astype(int)
    X = (rows(900, 6, 4) + 0.9 * y[:, None] * np.array([1, 1, 0, 0, 0, 0])).astype(np.float32)
    best = {
        name: baselines(
            subject((X, y), "classification", lambda: nn.Linear(6, 2), loss=nn.CrossEntropyLoss(weight=weight))
        ).best
        for name, weight in {"none": None, "even": torch.tensor([0.5, 4.0]), "uneven": torch.tensor([4.0, 0.5])}.items()
    }
    assert best["even"] < best["none"] and best["uneven"] == best["none"]


def test_places_that_ask_for_nothing_are_no_class(tmp_path):
    """A language model's prompts, masked with −100, count in no score, of the model or of simple ones."""
    ids = np.tile(np.array([1, 2, 3, 4, 1, 2, 3, 5]), (40, 1))
    labels = np.roll(ids, -1, 1)
    labels[:, :6] = -100
    training = Training(loss=nn.CrossEntropyLoss(), optimizer=partial(torch.optim.SGD, lr=0.1), epochs=1)
    data = Data(train=(ids, labels), validation=(ids[:20], labels[:20]))
    target = Target("masked", task="language_model", data=data, model=partial(nn.Embedding, 6, 6), training=training)
    found = baselines(Subject(target, tmp_path))
    assert (found.prior, found.best) == (0.5, 1.0)  # 5 and 1 are asked for, each behind a token of its own
    outputs, none = np.eye(6)[np.roll(ids, -1, 1)], np.full_like(labels, -100)
    assert metric_of("language_model", None)[1](outputs, labels) == 1.0
    assert np.isnan(metric_of("language_model", None)[1](outputs, none))
