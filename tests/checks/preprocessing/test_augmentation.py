"""Augmentation that destroys the label, and augmentation that does not."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from firstfault import Training
from firstfault.finding import Status
from firstfault.place import Place


def noise(scale):
    return lambda x: x + scale * torch.randn_like(x)


def shuffled_samples(x):
    return x[torch.randperm(len(x))]


def shuffled_pixels(x):
    order = torch.rand(x.flatten(1).shape).argsort(1)
    return x.flatten(1).gather(1, order).reshape(x.shape)


def shifted(x):
    return torch.roll(x, int(torch.randint(-1, 2, ())), dims=-1)


def flipped(x):
    return torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x.flip(-1), x)


def images_of_digits(X):
    return X.reshape(-1, 1, 8, 8) / 16


def digits(make, augment):
    return make(
        "digits",
        preprocess=images_of_digits,
        training=Training(augment=augment),
        model=lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)),
    )


@pytest.mark.parametrize(
    "augment",
    [noise(10.0), shuffled_samples, shuffled_pixels, torch.zeros_like],
    ids=["noise", "samples", "pixels", "zeros"],
)
def test_augmentation_that_destroys_the_label_fails(make, only, augment):
    """Drowning in noise, shuffling samples or pixels and blanking leave nothing to learn."""
    finding = only("destructive_augmentation", digits(make, augment))
    assert finding.status is Status.FAIL
    assert finding.faults == {"destructive_augmentation": 0.7}


@pytest.mark.parametrize(
    "augment", [noise(0.1), shifted, flipped, lambda x: x * 0.9], ids=["noise", "shift", "flip", "dim"]
)
def test_mild_augmentation_passes(make, only, augment):
    """A little noise, shifts, flips and dimming keep the label."""
    assert only("destructive_augmentation", digits(make, augment)).status is Status.PASS


def test_without_augmentation_there_is_nothing_to_judge(make, only):
    """No augmentation is skipped."""
    assert only("destructive_augmentation", digits(make, None)).status is Status.SKIPPED


@pytest.mark.parametrize(
    ("augment", "status"),
    [
        (shuffled_pixels, Status.FAIL),
        (noise(10.0), Status.FAIL),
        (noise(0.1), Status.PASS),
        (flipped, Status.PASS),
        (None, Status.SKIPPED),
    ],
    ids=["pixels", "noise", "little noise", "flip", "nothing"],
)
def test_augmentation_in_the_users_loader_is_judged_too(make, only, augment, status):
    """What the loader does to training batches counts like `training.augment`."""

    def loader(x, y, split):
        def collate(rows):
            batch = torch.stack([row for row, _ in rows])
            return augment(batch) if augment and split == "train" else batch, torch.stack([label for _, label in rows])

        return DataLoader(TensorDataset(x, y), batch_size=32, shuffle=split == "train", collate_fn=collate)

    subject = make(
        "digits",
        preprocess=images_of_digits,
        training=Training(loader=loader),
        model=lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)),
    )
    finding = only("destructive_augmentation", subject)
    assert finding.status is status
    assert finding.where == (Place.setting("training.loader") if status is Status.FAIL else None)


def test_a_table_is_judged_too(make, only):
    """Noise on standardised cells passes when small, and fails when it drowns them."""
    from sklearn.preprocessing import StandardScaler

    for scale, status in ((0.2, Status.PASS), (30.0, Status.FAIL)):
        subject = make(
            "breast_cancer",
            preprocess=StandardScaler(),
            training=Training(augment=noise(scale)),
            model=lambda: nn.Linear(30, 2),
        )
        assert only("destructive_augmentation", subject).status is status


def test_augmentation_that_raises_is_left_to_the_training_layer(make, only):
    """An exception in augment is said here, and is a finding of the layer that it belongs to."""

    def broken(x):
        raise RuntimeError("no")

    finding = only("destructive_augmentation", digits(make, broken))
    assert finding.status is Status.SKIPPED
    assert "training.augment raised RuntimeError" in finding.message
