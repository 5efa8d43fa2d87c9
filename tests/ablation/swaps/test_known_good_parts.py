"""Swaps of data, model and training: what each gives, and where it does not apply."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from firstfault.ablation.confirm.confirm import confirm
from firstfault.ablation.swap import swaps
from firstfault.ablation.sweeps.lr_finder import suggested_rate
from firstfault.errors import Missing
from firstfault.finding import Layer
from firstfault.training.loop import train


def apply(name, subject):
    return swaps()[name].apply(subject)


def rows_and(labels, n=400, columns=6, seed=0):
    """Random rows `(n, columns)` and what `labels` makes of them."""
    X = np.random.default_rng(seed).normal(size=(n, columns)).astype(np.float32)
    return X, labels(X)


def tokens(n=400, length=6, vocabulary=12, seed=0):
    """Token ids `(n, length)`, and whether the first is in the upper half."""
    ids = np.random.default_rng(seed).integers(0, vocabulary, (n, length))
    return ids, (ids[:, 0] >= vocabulary // 2).astype(int)


# ---- clean separable labels

TASKS = {
    "classification": (lambda X: np.arange(len(X)) % 3, 3, nn.CrossEntropyLoss()),
    "regression": (lambda X: np.random.default_rng(5).normal(size=len(X)).astype(np.float32), 1, nn.MSELoss()),
    "multilabel": (
        lambda X: (np.random.default_rng(5).random((len(X), 2)) < 0.5).astype(np.float32),
        2,
        nn.BCEWithLogitsLoss(),
    ),
}


@pytest.mark.parametrize("task", list(TASKS))
def test_clean_labels_are_learned_where_the_own_are_noise(subject_of, task):
    """The same model and training learn labels that a linear model gets right."""
    labels, outputs, loss = TASKS[task]
    subject = subject_of(
        data=rows_and(labels), task=task, loss=loss, model=lambda: nn.Linear(6, outputs), lr=3e-2, epochs=15
    )
    recipe = apply("clean_labels", subject)
    assert recipe.train.y.shape == subject.recipe.train.y.shape and recipe.train.y.dtype == subject.recipe.train.y.dtype
    assert train(recipe).score > 0.85 > 0.7 > train(subject.recipe).score


def test_clean_labels_over_tokens_have_both_classes(subject_of):
    """Which tokens occur decides."""
    recipe = apply(
        "clean_labels",
        subject_of(data=tokens(), model=lambda: nn.Sequential(nn.Embedding(12, 4), nn.Flatten(), nn.Linear(24, 2))),
    )
    assert 0.2 < float(recipe.train.y.float().mean()) < 0.8


def test_random_labels_are_confirmed_by_clean_ones(subject_of, suspect):
    """What learns clean labels, and only guesses its own, has labels to blame."""
    subject = subject_of(data=rows_and(TASKS["classification"][0]), model=lambda: nn.Linear(6, 3), lr=3e-2, epochs=10)
    outcome = confirm(subject, suspect({"random_labels": 0.6}, Layer.DATA), budget_seconds=60.0)[0]
    assert outcome.confirmed is True and outcome.swap.change == "clean separable labels on the same inputs"


def test_labels_that_are_learned_are_not_random(subject_of, suspect):
    """Clean labels are easier than any; that alone confirms nothing."""
    outcome = confirm(subject_of(lr=3e-3, epochs=3), suspect({"random_labels": 0.6}, Layer.DATA), budget_seconds=60.0)[
        0
    ]
    assert outcome.confirmed is False


# ---- the rows split anew


def sorted_splits(cut):
    """Classes shared out by `cut(order)` between train and validation."""
    from firstfault import Data

    random = np.random.default_rng(1)
    y = np.repeat([0, 1, 2], 200)
    X = (np.eye(3)[y] * 3 + random.normal(size=(600, 3))).astype(np.float32)
    train_rows, validation_rows = cut(random.permutation(600), y)
    return Data(train=(X[train_rows], y[train_rows]), validation=(X[validation_rows], y[validation_rows]))


def subject_on(data, tmp_path):
    from firstfault import Target, Training
    from firstfault.subject.subject import Subject

    return Subject(
        Target("split", task="classification", data=data, model=lambda: nn.Linear(3, 3), training=Training(epochs=2)),
        tmp_path / "run",
    )


def test_rows_of_a_skewed_split_are_drawn_anew(tmp_path):
    """Every split gets its share of each class, and no row is lost or doubled."""

    def skewed(order, y):
        held = [row for row in order if y[row] == 2][:150] + [row for row in order if y[row] != 2][:10]
        return [row for row in order if row not in set(held)], held

    subject = subject_on(sorted_splits(skewed), tmp_path)
    recipe, before = apply("split_anew", subject), subject.recipe
    share = float((recipe.validation.y == 2).float().mean())
    assert abs(share - 1 / 3) < 0.15 < float((before.validation.y == 2).float().mean())
    pooled = [
        torch.cat([made.train.x, made.validation.x, made.test.x])[:, 0].sort().values for made in (recipe, before)
    ]
    assert torch.equal(*pooled)


def test_a_random_split_is_not_drawn_anew(tmp_path):
    """There is nothing to repair."""
    subject = subject_on(sorted_splits(lambda order, y: (order[:450], order[450:])), tmp_path)
    with pytest.raises(Missing, match="alike"):
        apply("split_anew", subject)


# ---- a reference of matching shape


@pytest.mark.parametrize("outputs", [(2,), (6, 12)], ids=["per_sample", "per_token"])
def test_a_reference_over_tokens_has_the_shape_of_the_model(subject_of, outputs):
    """A row of outputs for the sample, or for each token."""
    if len(outputs) == 1:
        subject = subject_of(
            data=tokens(), model=lambda: nn.Sequential(nn.Embedding(12, 4), nn.Flatten(), nn.Linear(24, 2))
        )
    else:
        ids, _ = tokens()
        subject = subject_of(
            data=(ids, (ids + 1) % 12),
            task="language_model",
            model=lambda: nn.Sequential(nn.Embedding(12, 8), nn.Linear(8, 12)),
            epochs=3,
        )
    recipe = apply("reference_network", subject)
    assert recipe.build(0)(subject.batch.x).shape[1:] == outputs
    assert train(recipe).crash is None


def test_a_reference_for_one_logit_a_sample_keeps_its_shape(subject_of):
    """Outputs `(N,)` stay `(N,)`."""
    subject = subject_of(
        data=rows_and(lambda X: (X[:, 0] > 0).astype(int)),
        model=lambda: nn.Sequential(nn.Linear(6, 1), nn.Flatten(0)),
        loss=nn.BCEWithLogitsLoss(),
    )
    recipe = apply("reference_network", subject)
    assert recipe.build(0)(subject.batch.x).shape == subject.outputs.shape and train(recipe).score > 0.85


# ---- a rate from a range test


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.SGD])
def test_a_range_test_finds_a_rate_that_trains(subject_of, kind):
    """The suggestion does not depend on the target's own rate, and trains."""
    subject = subject_of(optimizer=partial(kind, lr=1e-7), epochs=10)
    own, best = suggested_rate(subject.recipe)
    assert own == pytest.approx(1e-7) and 1e-4 < best < 1
    assert train(apply("range_test_from_below", subject)).score > 0.85


def test_a_rate_near_the_suggestion_is_left_alone(subject_of):
    """No swap for what a range test finds right."""
    for name in ("range_test_from_below", "range_test_from_above"):
        with pytest.raises(Missing, match="range test suggests"):
            apply(name, subject_of(lr=2e-2))


def test_no_rate_helps_a_loss_that_does_not_fall(subject_of):
    """A constant output has no rate to be found."""
    model = lambda: nn.Sequential(nn.Linear(8, 3), nn.Softmax(0), nn.Threshold(2.0, 0.0))  # noqa: E731
    with pytest.raises(Missing, match="range test|no learning rate"):
        suggested_rate(subject_of(model=model).recipe)


def test_raw_inputs_replace_what_the_preparation_made(subject_of, tmp_path):
    """Unprepared inputs have nothing to be replaced by."""
    with pytest.raises(Missing, match="raw ones already"):
        apply("raw_inputs", subject_of())
