"""Markers that give the label away in images and texts, and classes whose content spreads over the sample."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

from firstfault.finding import Status


def digits():
    """Grey digits `(N, 1, 8, 8)`, dark at the borders."""
    data = load_digits()
    return data.images[:, None].astype(np.float32), data.target


def gradients(n=400, seed=0):
    """Colour noise `(N, 16, 16, 3)` that brightens downwards or to the right."""
    rng = np.random.default_rng(seed)
    y, ramp = rng.integers(0, 2, n), np.linspace(0.2, 1, 16)
    light = np.where(y[:, None, None, None] == 1, ramp[None, :, None, None], ramp[None, None, :, None])
    return (rng.random((n, 16, 16, 3)) * 200 * light).astype(np.float32), y


def strokes(n=600, seed=0):
    """Bars `(N, 28, 28)` through fixed places: each class has its own, and pixels that say much."""
    rng = np.random.default_rng(seed)
    y, X = rng.integers(0, 3, n), np.zeros((n, 28, 28), np.float32)
    for image, kind in zip(X, y, strict=True):
        at, width = rng.integers(10, 15), rng.integers(2, 4)
        image[(slice(4, 24), slice(at, at + width)) if kind == 0 else (slice(at, at + width), slice(4, 24))] = (
            rng.uniform(150, 255)
        )
        if kind == 2:
            image[4:24, at : at + width] = rng.uniform(150, 255)
    return X, y


IMAGES = {"digits": digits, "gradients": gradients, "strokes": strokes}


def stamped(images, marked, value, size=2):
    """Images with a square in the lower right corner where marked, whatever the order of their axes."""
    channels_last = images.ndim == 4 and images.shape[-1] == 3
    images = images.copy()
    corner = (
        (slice(-size, None), slice(-size, None), slice(None))
        if channels_last
        else (..., slice(-size, None), slice(-size, None))
    )
    for place in np.flatnonzero(marked):
        images[place][corner] = value
    return images


@pytest.mark.parametrize("source", IMAGES)
def test_a_stamp_on_one_class_is_found_and_drawn(make, only, drawn, source):
    """A square in the corner of each image of a class; one square in a hundred may be missing."""
    X, y = IMAGES[source]()
    rare = np.random.default_rng(0).random(len(y)) < 0.005
    subject = make((stamped(X, (y == 1) & ~rare, X.max()), y))
    finding = only("spurious_shortcut", subject)
    assert finding.status is Status.FAIL and finding.faults == {"spurious_shortcut": 0.92}
    assert "class 1" in finding.message and finding.artifacts == ("shortcut_region.svg",)
    texts, size = drawn(subject, "shortcut_region.svg")
    assert texts == ["The region that marks class 1", "class 1", "other classes"] and size < 40_000


@pytest.mark.parametrize("source", IMAGES)
def test_images_as_they_are_pass(make, only, source):
    """Dark borders and telling strokes are no stamp, nor is one on images of every class."""
    X, y = IMAGES[source]()
    assert only("spurious_shortcut", make((X, y))).status is Status.PASS
    anywhere = np.random.default_rng(1).random(len(y)) < 0.3
    assert only("spurious_shortcut", make((stamped(X, anywhere, X.max()), y))).status is Status.PASS


def test_a_stamp_whose_shade_is_the_class_is_found(make, only):
    """Every image has it."""
    X, y = gradients()
    shaded = np.where(y == 1, 1, 0)
    both = stamped(stamped(X, shaded == 1, 180.0), shaded == 0, 90.0)
    assert only("spurious_shortcut", make((both, y))).status is Status.FAIL


def test_a_frequent_stamp_is_a_warning(make, only):
    """On 19 of 20 images of a class."""
    X, y = gradients(900)
    most = np.random.default_rng(0).random(len(y)) < 0.95
    assert only("spurious_shortcut", make((stamped(X, (y == 1) & most, 200.0), y))).status is Status.WARN


def sentences(n=600, seed=0):
    """Sentences of twelve words, of two classes with favourite words."""
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
    y = rng.integers(0, 2, n)
    return pd.DataFrame({"text": [" ".join(rng.choice(words[5 * label : 12 + 5 * label], 12)) for label in y], "y": y})


def test_a_tag_in_the_texts_of_a_class_is_found(make, only):
    """A plain word that does so is a warning, favourite words are nothing."""
    frame = sentences()
    tagged = frame.assign(text=np.where(frame["y"] == 1, frame["text"] + " [src_7]", frame["text"]))
    worded = frame.assign(text=np.where(frame["y"] == 1, frame["text"] + " indeed", frame["text"]))
    found = only("spurious_shortcut", make(tagged, label="y"))
    assert found.status is Status.FAIL and str(found.where) == "[src_7]"
    assert only("spurious_shortcut", make(worded, label="y")).status is Status.WARN
    assert only("spurious_shortcut", make(frame, label="y")).status is Status.PASS


def test_two_languages_are_told_by_their_words(make, only):
    """Many words mark a class: that is content."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 400)
    words = [
        ["the", "of", "and", "to", "in", "is", "that", "for", "it", "as"],
        ["le", "de", "et", "la", "les", "des", "un", "une", "que", "est"],
    ]
    frame = pd.DataFrame({"text": [" ".join(rng.choice(words[label], 30)) for label in y], "y": y})
    assert only("spurious_shortcut", make(frame, label="y")).status is Status.PASS


@pytest.mark.parametrize("source", ["table", "tokens", "multilabel", "diabetes", "iris"])
def test_other_data_are_skipped(make, only, source):
    """Tables have target_leakage for it."""
    assert only("spurious_shortcut", make(source)).status is Status.SKIPPED


@pytest.mark.parametrize(
    "X",
    [np.zeros((60, 1, 16, 16)), np.full((60, 16, 16), np.nan), np.ones((4, 16, 16)), np.zeros((60, 12, 2))],
    ids=["black", "missing", "few", "sequences"],
)
def test_odd_inputs_are_judged_or_skipped(make, only, X):
    """Nothing makes the check crash."""
    assert only("spurious_shortcut", make((X, np.arange(len(X)) % 2))).status in (Status.PASS, Status.SKIPPED)
