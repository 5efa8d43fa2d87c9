"""The user's own loader: one thing wrong in each, and loaders that do uncommon things rightly."""

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import (
    DataLoader,
    Dataset,
    RandomSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from firstfault import Training
from firstfault.check import checks_of, run_checks
from firstfault.finding import Layer, Status

CHECKS = (
    "augmented_validation",
    "labels_parted_by_loader",
    "rows_lost_by_loader",
    "type_changed_by_loader",
    "splits_loaded_differently",
    "worker_seed_duplicated",
)


def unit(X):
    """Pixels of 0–255 as channels first, 0–1."""
    return (X / 255).transpose(0, 3, 1, 2)


SOURCES = {
    "images": {
        "preprocess": unit,
        "model": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2)),
    },
    "breast_cancer": {"preprocess": StandardScaler(), "model": lambda: nn.Linear(30, 2)},
}


class Augmented(Dataset):
    """Rows that are flipped and moved a little, by a function that draws."""

    def __init__(self, x, y, draw):
        self.x, self.y, self.draw = x, y, draw

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.draw(self.x[index]), self.y[index]


def jitter(row):
    """Noise and a random flip."""
    row = row + 0.1 * torch.randn(row.shape)
    return row.flip(-1) if row.ndim > 1 and torch.rand(()) < 0.5 else row


def plain(x, y, split):
    return DataLoader(TensorDataset(x, y), batch_size=16, shuffle=split == "train")


def augmenting(x, y, split):
    return DataLoader(Augmented(x, y, jitter), batch_size=16, shuffle=True) if split == "train" else plain(x, y, split)


def augmenting_both(x, y, split):
    return DataLoader(Augmented(x, y, jitter), batch_size=16, shuffle=split == "train")


def flipping_both(x, y, split):
    return DataLoader(Augmented(x, y, lambda row: row.flip(-1) if torch.rand(()) < 0.5 else row), batch_size=16)


def shuffled_validation(x, y, split):
    return DataLoader(TensorDataset(x, y), batch_size=16, shuffle=True)


def by_parts(batch):
    """Inputs stacked in order, labels in another."""
    x, y = zip(*batch, strict=True)
    return torch.stack(x), torch.stack(y)[torch.randperm(len(y))]


def parted(x, y, split):
    return DataLoader(
        TensorDataset(x, y), batch_size=16, shuffle=True, collate_fn=by_parts if split == "train" else None
    )


def mixed(batch):
    """Mixup of inputs with their labels, one-hot."""
    x, y = (torch.stack(part) for part in zip(*batch, strict=True))
    other, share = torch.randperm(len(x)), torch.rand(len(x))
    y = nn.functional.one_hot(y.long().clamp(0, 1), 2).float()
    shaped = share.reshape(-1, *[1] * (x.ndim - 1))
    return shaped * x + (1 - shaped) * x[other], share[:, None] * y + (1 - share[:, None]) * y[other]


def mixup(x, y, split):
    return (
        DataLoader(TensorDataset(x, y), batch_size=16, shuffle=True, collate_fn=mixed)
        if split == "train"
        else plain(x, y, split)
    )


def half_of_train(x, y, split):
    sampler = SubsetRandomSampler(range(len(x) // 2)) if split == "train" else None
    return DataLoader(TensorDataset(x, y), batch_size=16, sampler=sampler)


def drawn_once(x, y, split):
    rows = torch.randint(len(x), (len(x),)) if split == "train" else torch.arange(len(x))
    return DataLoader(TensorDataset(x[rows], y[rows]), batch_size=16, shuffle=split == "train")


def with_replacement(x, y, split):
    sampler = RandomSampler(x, replacement=True) if split == "train" else None
    return DataLoader(TensorDataset(x, y), batch_size=16, sampler=sampler)


def weighted(x, y, split):
    if split != "train":
        return plain(x, y, split)
    share = torch.bincount(y.long()).clamp_min(1)[y.long()]
    return DataLoader(TensorDataset(x, y), batch_size=16, sampler=WeightedRandomSampler(1.0 / share, len(y)))


def last_dropped(x, y, split):
    return DataLoader(TensorDataset(x, y), batch_size=16, shuffle=split == "train", drop_last=True)


def as_float64(x, y, split):
    return DataLoader(TensorDataset(x.double(), y), batch_size=16, shuffle=split == "train")


def as_whole(x, y, split):
    return DataLoader(TensorDataset(x.long(), y), batch_size=16, shuffle=split == "train")


def labels_as_int32(x, y, split):
    return DataLoader(TensorDataset(x, y.int()), batch_size=16, shuffle=split == "train")


def second_axis(x, y, split):
    def collate(batch):
        inputs, labels = zip(*batch, strict=True)
        return torch.stack(inputs, 1), torch.stack(labels)

    return DataLoader(TensorDataset(x, y), batch_size=14, shuffle=split == "train", collate_fn=collate)


def scaled_in_train(x, y, split):
    return plain((x - 0.5) / 0.1 if split == "train" else x, y, split)


def scaled_and_augmented_in_train(x, y, split):
    return augmenting((x - 0.5) / 0.1 if split == "train" else x, y, split)


def scaled_in_both(x, y, split):
    return plain((x - 0.5) / 0.25, y, split)


def scaled_per_batch(x, y, split):
    def collate(batch):
        inputs, labels = (torch.stack(part) for part in zip(*batch, strict=True))
        return (inputs - inputs.mean(0)) / (inputs.std(0) + 1e-3), labels

    return DataLoader(TensorDataset(x, y), batch_size=16, shuffle=split == "train", collate_fn=collate)


class OwnGenerator(Dataset):
    """Noise from a generator that every worker copies."""

    def __init__(self, x, y):
        self.x, self.y, self.generator = x, y, np.random.default_rng(0)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        noise = self.generator.normal(0, 0.1, tuple(self.x[index].shape))
        return self.x[index] + torch.as_tensor(noise, dtype=torch.float32), self.y[index]


def numpy_noise(row):
    return row + torch.as_tensor(np.random.normal(0, 0.1, tuple(row.shape)), dtype=torch.float32)


def workers_of(x, y, split, data, seed=None):
    if split != "train":
        return plain(x, y, split)
    return DataLoader(data, batch_size=8, shuffle=True, num_workers=2, worker_init_fn=seed)


def copied_generator(x, y, split):
    return workers_of(x, y, split, OwnGenerator(x, y))


def one_seed_for_all(x, y, split):
    return workers_of(x, y, split, Augmented(x, y, numpy_noise), lambda worker: np.random.seed(7))


def seeded_by_id(x, y, split):
    return workers_of(x, y, split, Augmented(x, y, numpy_noise), lambda worker: np.random.seed(worker))


def seeded_anew(x, y, split):
    return workers_of(
        x, y, split, Augmented(x, y, numpy_noise), lambda worker: np.random.seed(torch.initial_seed() % 2**32)
    )


def seeded_by_torch(x, y, split):
    return workers_of(x, y, split, Augmented(x, y, numpy_noise))


def workers_without_draws(x, y, split):
    return workers_of(x, y, split, TensorDataset(x, y))


class ByIndex(Augmented):
    """Noise that belongs to the row, the same in every pass."""

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        return self.x[index] + 0.1 * torch.randn(self.x[index].shape, generator=generator), self.y[index]


def noise_by_index(x, y, split):
    return workers_of(x, y, split, ByIndex(x, y, None))


FAULTY = [
    (augmenting_both, "augmented_validation"),
    (flipping_both, "augmented_validation"),
    (parted, "misaligned_labels"),
    (half_of_train, "row_loss"),
    (drawn_once, "row_loss"),
    (as_float64, "wrong_dtype"),
    (as_whole, "wrong_dtype"),
    (labels_as_int32, "wrong_dtype"),
    (second_axis, "scrambled_axes"),
    (scaled_in_train, "inconsistent_transform"),
    (scaled_and_augmented_in_train, "inconsistent_transform"),
    (scaled_per_batch, "batch_dependent_transform"),
    (copied_generator, "worker_seed_duplicated"),
    (one_seed_for_all, "worker_seed_duplicated"),
    (seeded_by_id, "worker_seed_duplicated"),
]
SOUND = [
    plain,
    augmenting,
    shuffled_validation,
    mixup,
    with_replacement,
    weighted,
    last_dropped,
    scaled_in_both,
    seeded_anew,
    seeded_by_torch,
    workers_without_draws,
    noise_by_index,
]


WITH_WORKERS = (
    copied_generator,
    one_seed_for_all,
    seeded_by_id,
    seeded_anew,
    seeded_by_torch,
    workers_without_draws,
    noise_by_index,
)


@pytest.fixture
def faults(make, run):
    """A function that gives the failed checks of the loader with their faults."""

    def found(source, loader, **settings):
        subject = make(source, training=Training(loader=loader, epochs=1, **settings), **SOURCES[source])
        checks = (
            CHECKS
            if loader not in WITH_WORKERS or (source, loader) == ("breast_cancer", seeded_by_torch)
            else ("worker_seed_duplicated",)
        )
        findings = [finding for name in checks for finding in run(name, subject)]
        assert Status.ERROR not in {finding.status for finding in findings}, findings
        return {fault for finding in findings if finding.status is Status.FAIL for fault in finding.faults}

    return found


def name_of(value):
    return getattr(value, "__name__", str(value))


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(("loader", "fault"), FAULTY, ids=name_of)
def test_a_fault_of_the_loader_is_found_alone(faults, source, loader, fault):
    """Each loader fails with its own fault and no look-alike, on images and on a table."""
    if fault == "augmented_validation" and loader is flipping_both and source == "breast_cancer":
        pytest.skip("a flip of a table's columns is not planted")
    assert faults(source, loader) == {fault}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("loader", SOUND, ids=name_of)
def test_a_sound_loader_does_not_fail(faults, source, loader):
    """Sampling with replacement, mixup, dropped last batches, seeded workers and shuffled validation are sound."""
    assert faults(source, loader) == set()


def test_without_a_loader_every_check_is_skipped(make, run):
    """Firstfault's own loader needs no examination."""
    subject = make("breast_cancer", **SOURCES["breast_cancer"])
    assert {finding.status for name in CHECKS for finding in run(name, subject)} == {Status.SKIPPED}
    assert set(CHECKS) <= {check.name for check in checks_of(Layer.PREPROCESSING)}


def broken(x, y, split):
    raise RuntimeError("no such file")


def broken_later(x, y, split):
    def collate(batch):
        raise ValueError("cannot stack")

    return DataLoader(TensorDataset(x, y), batch_size=16, collate_fn=collate)


def once(x, y, split):
    return iter([(x, y)])


@pytest.mark.parametrize("loader", [broken, broken_later, once], ids=name_of)
def test_a_loader_that_raises_is_a_finding_of_this_layer(make, loader):
    """An exception in the loader, or an iterator that ends after one pass, is the user's code raising, told once."""
    subject = make("breast_cancer", training=Training(loader=loader), **SOURCES["breast_cancer"])
    failed = run_checks(Layer.PREPROCESSING, subject).failures
    assert [(finding.check, finding.layer) for finding in failed] == [("training.loader_raises", Layer.PREPROCESSING)]


def only_whole(x, y, split):
    assert len(x) in (364, 91)
    return plain(x, y, split)


def own_samples(x, y, split):
    generator = torch.Generator().manual_seed(0)
    return plain(torch.randn(200, 30, generator=generator), torch.arange(200) % 2, split)


def in_threes(x, y, split):
    return DataLoader(TensorDataset(x, y, y), batch_size=16)


@pytest.mark.parametrize("loader", [only_whole, own_samples, in_threes], ids=name_of)
def test_a_loader_that_refuses_made_up_rows_is_not_blamed(make, loader):
    """Loaders for one length only, with samples of their own, or with other kinds of batches fail nothing."""
    subject = make("breast_cancer", training=Training(loader=loader, fit=lambda *_: None), **SOURCES["breast_cancer"])
    assert not run_checks(Layer.PREPROCESSING, subject).failures


@pytest.mark.parametrize("source", ["diabetes", "multilabel", "tokens", "iris"])
def test_other_tasks_are_examined_too(make, run, source):
    """A regression, several labels, token ids and three classes: a sound loader passes, a parted one does not."""
    models = {
        "tokens": lambda: nn.Sequential(nn.Embedding(50, 4), nn.Flatten(), nn.Linear(48, 2)),
        "diabetes": lambda: nn.Linear(10, 1),
    }
    model = models.get(source, lambda: nn.LazyLinear(3))
    for loader, wanted in ((plain, set()), (parted, {"misaligned_labels"})):
        subject = make(source, model=model, training=Training(loader=loader, epochs=1))
        found = [finding for name in CHECKS for finding in run(name, subject)]
        assert {fault for finding in found if finding.status is Status.FAIL for fault in finding.faults} == wanted, (
            found
        )
