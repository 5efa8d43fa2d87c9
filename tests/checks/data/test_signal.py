"""Labels that have nothing to do with their inputs, and weak but sound ones."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_diabetes, make_classification
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.preprocessing import StandardScaler
from torch import nn

from firstfault import Training
from firstfault.checks.data._contents import contents
from firstfault.finding import Status


def lost_customers(n=1500, seed=0, share=-1.5):
    """One customer of five leaves, which what is known of them makes somewhat likelier.

    Nobody is more likely to leave than to stay.
    """
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 5))
    return X, (rng.random(n) < 1 / (1 + np.exp(-(0.6 * X[:, 0] - 0.4 * X[:, 1] + share)))).astype(int)


def several(seed=0):
    """Three labels of a row that half of its columns tell."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(800, 6))
    return X, (X[:, :3] + rng.normal(0, 1, (800, 3)) > 0.5).astype(np.float32)


def numbers():
    """The diabetes set with its target on the scale of one."""
    X, y = load_diabetes(return_X_y=True)
    return X, ((y - y.mean()) / y.std()).astype(np.float32)


SETS = {
    "one class drowns the other": (lost_customers, "classification", 2),
    "several labels": (several, "multilabel", 3),
    "numbers": (numbers, "regression", 1),
}


def subject_of(make, name, *, shuffled):
    """A subject of that set with a small network, its labels as they are or dealt out anew."""
    source, task, width = SETS[name]
    X, y = source()
    y = np.random.default_rng(3).permutation(y) if shuffled else y
    return make(
        (X, y),
        task=task,
        preprocess=StandardScaler(),
        training=Training(epochs=3),
        model=lambda: nn.Sequential(nn.LazyLinear(16), nn.ReLU(), nn.LazyLinear(width)),
    )


@pytest.mark.parametrize("name", SETS)
def test_labels_dealt_out_anew_are_random(make, only, name):
    """Whatever the task is, and whatever the metric."""
    finding = only("random_labels", subject_of(make, name, shuffled=True))
    assert finding.status is Status.FAIL
    assert finding.faults == {"random_labels": 0.55}


def test_labels_that_are_known_by_heart_and_not_predicted_are_proof(make, only):
    """A network that learns rows of another order, and predicts no other, needs no swap to say that it can learn."""
    X = np.random.default_rng(0).normal(size=(500, 8)).astype(np.float32)
    subject = make(
        (X[:-1], (X[:, 0] + X[:, 1] > 0).astype(int)[1:]),
        task="classification",
        training=Training(optimizer=partial(torch.optim.Adam, lr=1e-2), epochs=40, batch_size=64),
        model=lambda: nn.Sequential(nn.Linear(8, 128), nn.ReLU(), nn.Linear(128, 2)),
    )
    assert only("random_labels", subject).faults == {"random_labels": 0.9}


@pytest.mark.parametrize("name", SETS)
def test_weak_labels_are_sound(make, only, name):
    """A class may never be the likeliest one, and its rows still be ranked above others."""
    assert only("random_labels", subject_of(make, name, shuffled=False)).status is Status.PASS


def test_models_that_answer_a_constant_judge_no_noise(make, only):
    """Fast models that are never surer of the rare class than of the other say nothing of single labels."""
    assert only("labels_against_inputs", make(lost_customers(seed=1, share=-2.5))).status is Status.SKIPPED


def test_too_few_rows_show_no_randomness(make, only):
    """Of 90 rows chance alone orders many."""
    X, y = lost_customers(90)
    assert only("random_labels", make((X, np.random.default_rng(0).permutation(y)))).status in (
        Status.SKIPPED,
        Status.PASS,
    )


def letters(n=600, wrong=0.0, seed=0):
    """Short messages of two kinds, as a frame or an array of texts."""
    rng = np.random.default_rng(seed)
    own = {0: "invoice refund charge payment card", 1: "parcel courier address delivery van"}
    y = rng.integers(0, 2, n)
    filler = ["the", "my", "please", "hello", "with", "about", "since", "today", "thanks", "again"]
    texts = [
        " ".join(rng.choice(own[label].split() if rng.random() < 0.4 else filler) for _ in range(9)) for label in y
    ]
    return texts, np.where(rng.random(n) < wrong, 1 - y, y)


@pytest.mark.parametrize(("wrong", "status"), [(0.2, Status.FAIL), (0.0, Status.PASS)])
@pytest.mark.parametrize("kind", ["frame", "array"])
def test_fast_models_read_texts(make, only, kind, wrong, status):
    """Wrong labels of texts are found by their words, in a column and in an array of texts."""
    texts, y = letters(wrong=wrong, seed=len(kind))
    source = (
        pd.DataFrame({"text": texts, "n": np.arange(len(y)) % 7}) if kind == "frame" else np.array(texts, dtype=object),
        y,
    )
    hashed = lambda X: HashingVectorizer(n_features=64).transform(list(X["text"] if kind == "frame" else X)).toarray()  # noqa: E731
    assert only("labels_against_inputs", make(source, preprocess=hashed)).status is status


def test_large_images_are_seen_as_a_grid(make):
    """32 × 32 colours become the means of at most 1,024 places; a small table has no contents beside its columns."""
    images = np.random.default_rng(0).integers(0, 255, (30, 40, 40, 3)).astype(np.uint8)
    subject = make((images, np.arange(30) % 2))
    seen = contents(subject, images, np.arange(20))
    assert seen.shape == (20, 3 * 18 * 18)
    assert seen.mean() == pytest.approx(images[:20].mean(), rel=0.05)
    assert contents(subject, np.zeros((30, 4)), np.arange(20)) is None


def test_imbalance_that_the_training_evens_out_is_none(make, only):
    """A loss with weights inside a function, and batches drawn evenly, favour the rare class; a plain loss does not."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

    X, y = make_classification(1200, 8, weights=[0.97], class_sep=1.5, flip_y=0, random_state=1)

    def weighted(outputs, labels):
        return (
            nn.functional.cross_entropy(outputs, labels, reduction="none") * torch.where(labels == 1, 10.0, 1.0)
        ).mean()

    def evenly(x, labels, split):
        rows = TensorDataset(x, labels)
        sampler = (
            WeightedRandomSampler(1 / torch.bincount(labels)[labels].float(), len(labels)) if split == "train" else None
        )
        return DataLoader(rows, batch_size=32, sampler=sampler)

    model = lambda: nn.Linear(8, 2)  # noqa: E731
    plain = nn.CrossEntropyLoss()
    assert only("class_imbalance", make((X, y), model=model, training=Training(loss=plain))).status is Status.FAIL
    assert only("class_imbalance", make((X, y), model=model, training=Training(loss=weighted))).status is Status.PASS
    assert (
        only("class_imbalance", make((X, y), model=model, training=Training(loss=plain, loader=evenly))).status
        is Status.PASS
    )
