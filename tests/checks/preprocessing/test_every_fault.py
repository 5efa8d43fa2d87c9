"""Every fault of the layer on a table and on images: found alone, at its own step, and absent from sound twins."""

import numpy as np
import pytest
import torch
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from torch import nn

from firstfault import Splits, Training
from firstfault.faults import FAULTS
from firstfault.finding import Layer, Status

ELSEWHERE = {
    "target_not_scaled": "test_scales",
    "label_scaled": "test_labels",
    "label_encoding_order": "test_labels",
    "destructive_augmentation": "test_augmentation",
    "augmented_validation": "test_loader",
    "worker_seed_duplicated": "test_loader",
    "truncation": "test_truncation",
    "labels_shifted_twice": "probe/test_pairs",
    "no_supervised_tokens": "lm/test_watched_tuning",
    "eos_never_supervised": "lm/test_watched_tuning",
    "prompt_supervised": "lm/test_watched_tuning",
}
TABLE, IMAGES = "breast_cancer", "images"


def flat_net():
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(16), nn.ReLU(), nn.Linear(16, 10))


def unit(X):
    return X / np.float32(255)


def channels_first(X):
    return X.transpose(0, 3, 1, 2)


def axes_of(X):
    return (0, 1, 2) if X.ndim == 4 else 0


def normal(X):
    return X / np.float32(255) if X.ndim == 4 else (X - 100) / 250


def log_of_some(X):
    with np.errstate(all="ignore"):
        return np.log(X - X.mean())


def per_8(X):
    parts = [X[start : start + 8] for start in range(0, len(X), 8)]
    return np.concatenate([(part - part.mean(axes_of(part))) / (part.std(axes_of(part)) + 1e-3) for part in parts])


def noisy(X):
    return X + 0.3 * np.random.normal(size=X.shape) * X.std(axes_of(X))


STEPS = {
    "nonfinite_output": log_of_some,
    "information_loss": lambda X: np.clip(X, 1e7, None),
    "row_loss": lambda X: X[::2],
    "misaligned_labels": lambda X: X[np.argsort(X.reshape(len(X), -1)[:, 5], kind="stable")],
    "nondeterministic_transform": noisy,
    "batch_dependent_transform": per_8,
    "wrong_dtype": lambda X: (X / X.max()).astype(np.uint8),
}


def before(X):
    return X * 1.0


def after(X):
    return X + 0.0


def subject_of(make, source, **parts):
    return make(source, model=flat_net, training=Training(epochs=1), **parts)


@pytest.mark.parametrize("source", [TABLE, IMAGES])
@pytest.mark.parametrize("fault", STEPS)
def test_the_step_that_goes_wrong_is_named_among_others(make, run, fault, source):
    """Of three steps, the second is at fault: the check of that fault fails there."""
    subject = subject_of(make, source, preprocess=[("before", before), ("culprit", STEPS[fault]), ("after", after)])
    found = [finding for finding in run(fault, subject) if finding.status is Status.FAIL]
    assert [set(finding.faults) for finding in found] == [{fault}]
    assert str(found[0].where).split(",")[0] == "culprit"


@pytest.mark.parametrize("source", ["wine", "digits"])
@pytest.mark.parametrize("fault", STEPS)
def test_steps_without_a_fault_pass_on_other_data(make, run, fault, source):
    """The same steps around a sound one."""
    subject = subject_of(make, source, preprocess=[("before", before), ("sound", StandardScaler()), ("after", after)])
    assert all(finding.status is not Status.FAIL for finding in run(fault, subject))


def test_token_ids_made_floats_by_the_second_step_are_found_there(make, only):
    """An embedding takes whole numbers: the step that makes floats is named."""
    steps = [("first", lambda X: X[:, :10]), ("culprit", lambda X: X.astype(np.float32)), ("after", lambda X: X * 1)]
    model = lambda: nn.Sequential(nn.Embedding(50, 4), nn.Flatten(), nn.Linear(40, 2))  # noqa: E731
    assert str(only("wrong_dtype", make("tokens", preprocess=steps, model=model)).where) == "culprit"


@pytest.mark.parametrize(
    ("source", "steps"),
    [
        (TABLE, [("scale", StandardScaler()), ("culprit", lambda X: X / 200), ("after", after)]),
        (IMAGES, [("scale", unit), ("culprit", unit), ("after", after)]),
    ],
    ids=[TABLE, IMAGES],
)
def test_the_step_that_normalises_again_is_named(make, only, source, steps):
    """Inputs of order one that a step makes tiny: that step is the place."""
    finding = only("double_normalisation", subject_of(make, source, preprocess=steps))
    assert finding.status is Status.FAIL and str(finding.where) == "culprit"


def test_the_step_that_scrambles_axes_is_named(make, only):
    """Images that are viewed instead of permuted by the second of three steps."""
    steps = [("scale", unit), ("culprit", lambda X: X.reshape(len(X), 3, 8, 8)), ("after", after)]
    finding = only("scrambled_axes", subject_of(make, IMAGES, preprocess=steps))
    assert finding.status is Status.FAIL and str(finding.where) == "culprit"


def scaled_by(*, held_out=True, fit="train"):
    """A preparation of all splits that standardises, with one thing wrong."""

    def prepare(splits):
        rows = np.concatenate([split.X for _, split in splits.items()]) if fit == "all" else splits.train.X
        mean, deviation = rows.mean(axes_of(rows)), rows.std(axes_of(rows)) + 1e-9

        def scaled(split, name):
            return (split.X if name != "train" and not held_out else (split.X - mean) / deviation, split.y)

        return Splits(*(scaled(split, name) for name, split in splits.items()))

    return prepare


PREPARED = {
    "inconsistent_transform": scaled_by(held_out=False),
    "fit_on_all_data": scaled_by(fit="all"),
    "misaligned_labels": lambda splits: Splits(
        (normal(splits.train.X)[::-1].copy(), splits.train.y),
        *((normal(split.X), split.y) for split in (splits.validation, splits.test)),
    ),
    "row_loss": lambda splits: Splits(
        (normal(splits.train.X)[:60], splits.train.y[:60]),
        *((normal(split.X), split.y) for split in (splits.validation, splits.test)),
    ),
}


@pytest.mark.parametrize("source", [TABLE, IMAGES])
@pytest.mark.parametrize("fault", PREPARED)
def test_a_fault_of_prepare_is_found_alone(make, failures, fault, source):
    """The whole layer fails with that fault and no look-alike."""
    found = failures(subject_of(make, source, prepare=PREPARED[fault]))
    # raw scales of held-out rows, or of unscaled columns, are so, too
    assert found - {"missing_normalisation"} == {fault}


def test_a_different_path_is_named_with_its_split(make, only):
    """The place tells the step and the split."""
    assert (
        str(only("inconsistent_transform", subject_of(make, TABLE, prepare=PREPARED["inconsistent_transform"])).where)
        == "prepare, validation"
    )


@pytest.mark.parametrize(
    ("source", "step"), [("wine", StandardScaler()), ("digits", lambda X: X / 16), ("iris", MinMaxScaler())]
)
def test_the_whole_layer_passes_sound_steps(make, failures, source, step):
    """Tables and images in their usual preparation fail nothing."""
    assert failures(subject_of(make, source, preprocess=step)) == set()


@pytest.mark.parametrize("source", ["wine", "digits"])
def test_the_whole_layer_passes_a_sound_prepare(make, failures, source):
    """Statistics of train for every split fail nothing."""
    assert failures(subject_of(make, source, prepare=scaled_by())) == set()


def test_images_of_colour_pass(make, failures):
    """Pixels as floats of 0–1 with channels first, and a small augmentation."""
    training = Training(epochs=1, augment=lambda x: x + 0.01 * torch.randn_like(x))
    subject = make(IMAGES, preprocess=[("unit", unit), ("axes", channels_first)], model=flat_net, training=training)
    assert failures(subject) == set()


def test_every_fault_of_the_layer_is_planted_somewhere(planted_apart):
    """No id of the layer is without a planted fault."""
    here = {*STEPS, *PREPARED, "double_normalisation", "scrambled_axes", "missing_normalisation"}
    every = {fault for fault, kind in FAULTS.items() if kind.layer is Layer.PREPROCESSING} - planted_apart
    assert every == here | set(ELSEWHERE)
