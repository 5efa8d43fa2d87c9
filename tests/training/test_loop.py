"""The batches of firstfault's own loop, and its end."""

import multiprocessing
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from firstfault import Training
from firstfault.checks.training._first_steps import follow
from firstfault.finding import Layer
from firstfault.training.batches import loader
from firstfault.training.loop import train
from firstfault.training.recipe import Recipe, Tensors


@pytest.mark.parametrize(
    ("rows", "batch", "shuffle", "sizes"),
    [
        (33, 16, True, [16, 16]),
        (34, 16, True, [16, 16, 2]),
        (33, 16, False, [16, 16, 1]),
        (1, 16, True, [1]),
        (3, 1, True, [1, 1, 1]),
    ],
)
def test_a_shuffled_pass_has_no_last_batch_of_one(rows, batch, shuffle, sizes):
    """Batch normalisation refuses a single sample; evaluation sees every row."""
    tensors = Tensors(torch.arange(rows)[:, None].float(), torch.arange(rows))
    assert [len(y) for _, y in loader(tensors, batch, shuffle, 0)] == sizes


def test_the_seed_fixes_the_order():
    """The same seed gives the same batches, another seed others."""
    tensors = Tensors(torch.arange(64)[:, None].float(), torch.arange(64))
    first, again, other = (torch.cat([y for _, y in loader(tensors, 8, True, seed)]) for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)


def recipe_with(loader, fit=None, epochs=6):
    """A small classification whose batches come from `loader`."""
    x = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    rows = Tensors(x, (x[:, 0] > 0).long())
    training = Training(
        loader=loader, epochs=epochs, fit=fit, optimizer=lambda p: torch.optim.Adam(p, lr=0.05), device="cpu"
    )
    return Recipe(
        "classification",
        rows,
        rows.rows(slice(80)),
        rows.rows(slice(20)),
        lambda: nn.Linear(4, 2),
        training,
        2,
        Path.cwd(),
    )


def in_fifties(seen):
    """A loader that notes for which split, and with how many rows, it is called."""

    def loader(x, y, split):
        seen.append((split, len(x)))
        return DataLoader(TensorDataset(x * 2, y), batch_size=50, shuffle=split == "train")

    return loader


def test_the_users_loader_makes_the_batches_of_training_and_validation():
    """Both splits go through it, once for training and anew for every evaluation."""
    seen = []
    trained = train(recipe_with(in_fifties(seen)))
    assert trained.crash is None and trained.score > 0.9
    assert seen[0] == ("train", 200) and set(seen[1:]) == {("validation", 200), ("validation", 80)}


def test_fit_is_handed_the_users_batches():
    """A `fit` iterates the user's loaders, as often as it likes."""
    sizes = []

    def fit(model, train_loader, validation_loader):
        for _ in range(2):
            sizes.append([[len(x) for x, _ in batches] for batches in (train_loader, validation_loader)])
        sizes.append(train_loader.batch_size)

    trained = train(recipe_with(in_fifties([]), fit))
    assert trained.crash is None
    assert sizes == [[[50] * 4, [50, 30]]] * 2 + [50]


def test_a_loader_cannot_change_the_prepared_rows():
    """What it does in place is lost after the training."""

    def in_place(x, y, split):
        return DataLoader(TensorDataset(x.mul_(100), y), batch_size=50)

    recipe = recipe_with(in_place)
    before = recipe.train.x.clone()
    train(recipe)
    assert torch.equal(recipe.train.x, before)


def test_a_loader_that_raises_ends_the_training_as_preprocessing():
    """The crash carries the layer of the loader."""
    crash = train(recipe_with(lambda x, y, split: iter([]))).crash
    assert crash is not None and crash.layer is Layer.PREPROCESSING
    assert "iterated again" in str(crash)


def test_a_loop_that_is_cut_leaves_no_worker_of_its_loader():
    """Else they are ended by the garbage collector some day, which waits 5 s for each."""

    def fit(model, batches, held_out):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        workers = iter(DataLoader(TensorDataset(torch.arange(64)), batch_size=8, num_workers=1))
        for x, y in batches:
            next(workers)
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()

    assert follow(recipe_with(None, fit), 0, 1) is not None
    assert not multiprocessing.active_children()
