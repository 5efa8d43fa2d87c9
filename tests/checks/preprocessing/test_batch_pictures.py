"""The first training batch as a picture, or as a list of token ids."""

import csv

import pytest
import torch
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from firstfault import Training
from firstfault.finding import Status


def unit(X):
    return (X / 255).transpose(0, 3, 1, 2)


def loader(x, y, split):
    return DataLoader(TensorDataset(x, y), batch_size=16, shuffle=True)


def pairs_only(x, y, split):
    assert y.max() < 2
    return loader(x, y, split)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"augment": lambda x: x.flip(-1)},
        {"loader": loader},
        {"loader": pairs_only},
        {"shuffle": False, "batch_size": 3},
    ],
    ids=["plain", "augmented", "loader", "a loader that refuses numbers", "three"],
)
@pytest.mark.parametrize(
    ("source", "parts"),
    [("images", {"preprocess": unit}), ("breast_cancer", {"preprocess": StandardScaler()})],
    ids=["images", "table"],
)
def test_a_batch_is_drawn(make, only, drawn, source, parts, settings):
    """Images and tables become a small picture, whatever makes the batch."""
    if source == "breast_cancer" and "augment" in settings:
        settings = {"augment": lambda x: x + torch.randn_like(x)}
    subject = make(
        source, model=lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(2)), training=Training(**settings), **parts
    )
    finding = only("batch_pictures", subject)
    assert finding.status is Status.PASS and finding.artifacts == ("batch.svg",)
    assert finding.value == settings.get("batch_size", 16 if "loader" in settings else 64)
    texts, size = drawn(subject, "batch.svg")
    assert texts[0].startswith("First training batch") and size <= 100_000
    assert ("x29" in texts) == (source == "breast_cancer")


def test_token_ids_are_listed(make, only):
    """First and last ids and the length, with the label."""
    model = lambda: nn.Sequential(nn.Embedding(50, 4), nn.Flatten(), nn.Linear(48, 2))  # noqa: E731
    subject = make("tokens", model=model)
    assert only("batch_pictures", subject).artifacts == ("batch.csv",)
    rows = list(csv.DictReader((subject.folder / "batch.csv").open()))
    assert len(rows) == 16 and rows[0]["width"] == "12" and len(rows[0]["first_ids"].split()) == 8
    assert (rows[0]["label"] == "1") == any(7 in map(int, rows[0][name].split()) for name in ("first_ids", "last_ids"))


def test_labels_that_are_personal_are_masked(make, only):
    """An address as a class name does not reach the list."""
    import numpy as np

    X = np.random.default_rng(0).integers(0, 20, (80, 6))
    y = np.where(X[:, 0] > 9, "ada@mail.org", "bob@mail.org")
    subject = make((X, y), model=lambda: nn.Sequential(nn.Embedding(20, 2), nn.Flatten(), nn.Linear(12, 2)))
    assert only("batch_pictures", subject).artifacts == ("batch.csv",)
    assert "@mail.org" not in (subject.folder / "batch.csv").read_text()


@pytest.mark.parametrize("source", ["diabetes", "multilabel", "iris"])
def test_other_tasks_are_drawn_too(make, only, source):
    """Numbers and several labels per row."""
    assert only("batch_pictures", make(source, model=lambda: nn.LazyLinear(3))).status is Status.PASS


def test_a_model_that_is_absent_is_skipped(make, only):
    """Without a model there is no batch."""
    assert only("batch_pictures", make("iris")).status is Status.SKIPPED
