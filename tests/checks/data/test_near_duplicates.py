"""Samples that are almost copies, across splits and within train, and data whose samples are alike by nature."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_breast_cancer, load_digits, load_wine

from firstfault.finding import Status


def parted(frame, seed=0):
    """Two random halves of a frame."""
    order = np.random.default_rng(seed).permutation(len(frame))
    return frame.iloc[order[: len(frame) // 2]], frame.iloc[order[len(frame) // 2 :]]


def jittered(frame, amount=0.01):
    """Rows whose numbers moved by a hundredth of their deviation."""
    rng = np.random.default_rng(1)
    moved = frame.copy()
    for column in frame.columns.drop("target"):
        moved[column] += rng.normal(0, amount * frame[column].std(), len(frame))
    return moved


def shapes(n=900, seed=0):
    """Grey images `(N, 1, 28, 28)` of a disc, a square or a cross at any place, with noise."""
    rng = np.random.default_rng(seed)
    down, right = np.mgrid[:28, :28] / 28
    y, images = rng.integers(0, 3, n), np.zeros((n, 1, 28, 28), np.float32)
    for image, kind in zip(images, y, strict=True):
        a, b, size = np.abs(right - rng.uniform(0.3, 0.7)), np.abs(down - rng.uniform(0.3, 0.7)), rng.uniform(0.1, 0.25)
        inside = [a**2 + b**2 < size**2, np.maximum(a, b) < size, np.minimum(a, b) < size / 4][kind]
        image[0] = (inside * rng.uniform(0.5, 1) + rng.normal(0, 0.05, (28, 28))).clip(0, 1) * 200
    return images, y


def encoded_again(images):
    """The images as JPEG decodes them."""
    read = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image[0].astype(np.uint8)).save(file, "JPEG", quality=75)
        read.append(np.asarray(Image.open(file), dtype=np.float32)[None])
    return np.stack(read)


def sentences(n, seed=0):
    """Sentences of twelve words."""
    rng = np.random.default_rng(seed)
    words = [
        "river",
        "stone",
        "cloud",
        "paper",
        "green",
        "under",
        "quickly",
        "house",
        "seven",
        "never",
        "walks",
        "bright",
        "garden",
        "little",
        "music",
        "train",
        "early",
        "winter",
    ]
    return pd.DataFrame({"text": [" ".join(rng.choice(words, 12)) for _ in range(n)], "target": rng.integers(0, 2, n)})


@pytest.mark.parametrize("load", [load_breast_cancer, load_wine], ids=["cancer", "wine"])
def test_jittered_rows_across_splits_are_a_fault_and_within_train_a_warning(make, only, load):
    """A tenth of the rows has an almost-copy; the halves as they are have none."""
    train, test = parted(load(as_frame=True).frame)
    again = jittered(train.iloc[: len(train) // 6])
    assert only("near_duplicates", make(train, label="target", data={"test": test})).status is Status.PASS
    across = only("near_duplicates", make(train, label="target", data={"test": pd.concat([test, again])}))
    assert across.status is Status.FAIL and across.faults == {"split_overlap": 0.92} and str(across.where) == "test"
    within = only("near_duplicates", make(pd.concat([train, again]), label="target", data={"test": test}))
    assert within.status is Status.WARN and str(within.where) == "train"


@pytest.mark.parametrize(
    "change",
    [encoded_again, lambda x: 0.9 * x + 20, lambda x: np.roll(x, 1, axis=3)],
    ids=["jpeg", "brighter", "shifted"],
)
def test_changed_images_across_splits_are_a_fault(make, only, change):
    """Encoded again, brighter, or a pixel to the right."""
    X, y = shapes()
    test = np.concatenate([X[600:], change(X[:50])]), np.concatenate([y[600:], y[:50]])
    assert only("near_duplicates", make((X[:600], y[:600]), data={"test": test})).status is Status.FAIL
    assert only("near_duplicates", make((X[:600], y[:600]), data={"test": (X[600:], y[600:])})).status is Status.PASS


def test_texts_that_differ_in_case_and_punctuation_are_a_fault(make, only):
    """Other sentences of the same words are not."""
    train, test = sentences(500), sentences(200, seed=1)
    variants = train.iloc[:30].assign(text=lambda frame: frame["text"].str.upper().str.replace(" ", ",  ") + "!")
    assert only("near_duplicates", make(train, label="target", data={"test": test})).status is Status.PASS
    assert (
        only("near_duplicates", make(train, label="target", data={"test": pd.concat([test, variants])})).status
        is Status.FAIL
    )


def alike(kind):
    """Data with natural look-alikes."""
    rng = np.random.default_rng(2)
    if kind == "two columns":
        X = rng.normal(size=(2000, 2))
    elif kind == "three columns":
        X = rng.normal(size=(2000, 3))
    elif kind == "windows":
        X = np.lib.stride_tricks.sliding_window_view(np.cumsum(rng.normal(size=2012)), 12)
    elif kind == "whole numbers":
        X = rng.integers(0, 8, (2000, 6)).astype(float)
    elif kind == "one-hot":
        X = np.eye(7)[rng.integers(0, 7, (2000, 3))].reshape(2000, 21)
    else:
        X = load_digits().images[:, None]
    return np.asarray(X, dtype=np.float32), rng.integers(0, 2, len(X))


@pytest.mark.parametrize("kind", ["two columns", "three columns", "windows", "whole numbers", "one-hot", "digits"])
def test_samples_that_are_alike_by_nature_are_no_copies(make, only, kind):
    """Parted at random by the user."""
    X, y = alike(kind)
    order = np.random.default_rng(0).permutation(len(X))
    cut = len(X) * 3 // 4
    subject = make((X[order[:cut]], y[order[:cut]]), data={"test": (X[order[cut:]], y[order[cut:]])})
    assert only("near_duplicates", subject).status in (Status.PASS, Status.SKIPPED)


@pytest.mark.parametrize("source", ["images", "tokens", "multilabel", "diabetes", "table", "iris"])
def test_other_data_are_judged_or_skipped(make, only, source):
    """Drawn by firstfault, nothing is near."""
    assert only("near_duplicates", make(source)).status in (Status.PASS, Status.SKIPPED)


@pytest.mark.parametrize(
    "X", [np.zeros((60, 1, 16, 16)), np.full((60, 5), np.nan), np.ones((3, 4))], ids=["black", "missing", "few"]
)
def test_odd_inputs_are_judged_or_skipped(make, only, X):
    """Images without contrast, rows without a value."""
    assert only("near_duplicates", make((X, np.arange(len(X)) % 2))).status in (Status.PASS, Status.SKIPPED)
