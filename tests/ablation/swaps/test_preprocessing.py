"""Swaps that put a known-good preparation in place of the target's own."""

from functools import partial

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.preprocessing import StandardScaler
from torch import nn

from firstfault import Data, Splits, Target, Training
from firstfault.ablation.swap import swaps
from firstfault.errors import Missing
from firstfault.subject.subject import Subject
from firstfault.training.loop import train

SETS = {"wine": load_wine, "digits": load_digits, "breast_cancer": load_breast_cancer}


@pytest.fixture
def make(tmp_path):
    """A function that makes a Subject of a scikit-learn data set or of arrays."""

    def build(source, *, task="classification", width=16, outputs=10, training=None, **parts):
        data = Data(train=SETS[source](return_X_y=True) if isinstance(source, str) else source)
        model = parts.pop(
            "model", lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.ReLU(), nn.Linear(width, outputs))
        )
        training = training or Training(optimizer=partial(torch.optim.Adam, lr=1e-2), epochs=15, batch_size=32)
        return Subject(
            Target(name="t", task=task, data=data, model=model, training=training, **parts), tmp_path / "run"
        )

    return build


def scores(subject, name):
    """The metric without and with the swap."""
    return train(subject.recipe).score, train(swaps()[name].apply(subject)).score


def shuffled(splits):
    order = np.random.default_rng(0).permutation(len(splits.train.y))
    return Splits(
        (splits.train.X[order] / 16, splits.train.y),
        (splits.validation.X / 16, splits.validation.y),
        (splits.test.X / 16, splits.test.y),
    )


def held_out_shifted(splits):
    return Splits(splits.train, (3 - splits.validation.X, splits.validation.y), (3 - splits.test.X, splits.test.y))


def test_standardised_inputs_have_mean_0_and_deviation_1(make):
    """Statistics come from train; every split is changed by the same function."""
    recipe = swaps()["standardised_inputs"].apply(make("wine"))
    assert torch.allclose(recipe.train.x.mean(0), torch.zeros(13), atol=1e-4)
    assert torch.allclose(recipe.train.x.std(0, correction=0), torch.ones(13), atol=1e-4)
    assert not torch.allclose(recipe.test.x.mean(0), torch.zeros(13), atol=1e-4)


def test_images_are_standardised_per_channel(make):
    """Pixels of one channel share their statistics."""
    X = np.random.default_rng(0).random((60, 3, 4, 4)) * [[[[1]], [[10]], [[100]]]]
    recipe = swaps()["standardised_inputs"].apply(make((X, np.arange(60) % 2)))
    assert torch.allclose(recipe.train.x.std((0, 2, 3)), torch.ones(3), atol=0.01)


def test_token_ids_are_left_alone(make):
    """Token ids have no scale."""
    X = np.random.default_rng(0).integers(0, 20, (60, 5))
    model = lambda: nn.Sequential(nn.Embedding(20, 4), nn.Flatten(), nn.Linear(20, 2))  # noqa: E731
    with pytest.raises(Missing, match="token ids"):
        swaps()["standardised_inputs"].apply(make((X, np.arange(60) % 2), model=model))


def test_standardising_restores_learning_on_wild_scales(make):
    """Wine on raw scales is learned once it is standardised."""
    before, after = scores(
        make("wine", training=Training(optimizer=partial(torch.optim.SGD, lr=0.05), epochs=15)), "standardised_inputs"
    )
    assert after > before + 0.1
    assert after > 0.9


def test_a_standardised_target_restores_learning(make):
    """Targets of 200,000 are learned once standardised, by R²."""
    X = np.random.default_rng(0).normal(size=(400, 4))
    before, after = scores(make((X, 200_000 + 50_000 * X[:, 0]), task="regression", outputs=1), "standardised_target")
    assert before < 0.1
    assert after > 0.9


@pytest.mark.parametrize("name", ["train_on_validation_path", "known_good_preparation"])
def test_misaligned_labels_are_put_right(make, name):
    """Digits shuffled without labels are learned again."""
    before, after = scores(make("digits", prepare=shuffled), name)
    assert before < 0.3
    assert after > 0.85


@pytest.mark.parametrize("name", ["one_path", "known_good_preparation"])
def test_held_out_splits_are_put_on_the_path_of_train(make, name):
    """Validation prepared in another way is read again."""
    X, y = load_wine(return_X_y=True)
    before, after = scores(make((StandardScaler().fit_transform(X), y), prepare=held_out_shifted), name)
    assert after > before + 0.1
    assert after > 0.9


def test_one_path_does_not_apply_to_one_path(make):
    """A preparation that treats all splits alike has nothing to undo."""
    with pytest.raises(Missing, match="alike"):
        swaps()["one_path"].apply(make("digits", prepare=lambda splits: splits))


def test_raw_labels_replace_other_ids_in_validation(make):
    """Rotated ids of validation come back to those of train."""

    def rotated(splits):
        return Splits(splits.train, (splits.validation.X, (splits.validation.y + 1) % 10), splits.test)

    before, after = scores(make("digits", prepare=rotated), "raw_labels")
    assert before < 0.2
    assert after > 0.85


def test_raw_labels_need_rows_in_order(make):
    """After a shuffle the raw labels cannot be matched."""
    with pytest.raises(Missing, match="matched"):
        swaps()["raw_labels"].apply(
            make(
                "digits",
                prepare=lambda splits: Splits(
                    (splits.train.X[::-1], splits.train.y[::-1]), splits.validation, splits.test
                ),
            )
        )


def test_known_good_preparation_puts_channels_first(make):
    """Images (N, H, W, 3) viewed as (N, 3, H, W) are permuted from the raw ones."""
    X = np.random.default_rng(0).random((60, 8, 8, 3))
    subject = make((X, np.arange(60) % 2), preprocess=lambda X: X.reshape(-1, 3, 8, 8))
    recipe = swaps()["known_good_preparation"].apply(subject)
    wanted = torch.as_tensor(subject.raw.train.X).permute(0, 3, 1, 2)[0, 1].flatten()
    assert torch.corrcoef(torch.stack([recipe.train.x[0, 1].flatten().double(), wanted]))[0, 1] > 0.999


def test_known_good_preparation_needs_the_models_width(make):
    """A model for two components cannot take thirty columns."""
    with pytest.raises(Missing, match="shape"):
        swaps()["known_good_preparation"].apply(make("breast_cancer", preprocess=lambda X: X[:, :2]))


def test_augmentation_is_switched_off(make):
    """The swap removes augment, and does not apply without one."""
    with pytest.raises(Missing):
        swaps()["no_augmentation"].apply(make("digits"))
    subject = make("digits", training=Training(augment=torch.zeros_like))
    assert swaps()["no_augmentation"].apply(subject).training.augment is None
