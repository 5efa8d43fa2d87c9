"""Simple features of samples that are no table rows: the looks of images, the length and wording of texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from firstfault.checks.data._pictures import images_of
from firstfault.texts import as_text
from firstfault.training.stages import numbers

Array = np.ndarray[Any, Any]
Features = Mapping[str, pd.Series]

FEWEST_IMAGES, MOST_IMAGES, MOST_PIXELS = 200, 3_000, 30_000_000  # 240 MB of pixels, unless 200 images take more
MOST_TEXTS = 3_000  # bounds the time: the distance of two such samples errs by 0.02
FEWEST_WORDS = 3  # of prose, at the median: names have two
DISTINCT = 0.2  # of its texts that differ: categories repeat
LOOKED_AT = 300  # texts that tell prose, and the width from which an array is no table
SIDE, PROJECTED = 8, 64  # 64 numbers per sample, which trees can part
WORDS = r"[^\W\d_]+"


def sample_features(X: Any, rows: Array) -> Features | None:
    """Features of samples of an array: of images their looks, of wide rows mean and spread; None for a table."""
    shape = np.shape(X)
    if len(shape) < 3 and (len(shape) < 2 or shape[1] <= LOOKED_AT):
        return None
    rows = _fewer(rows, max(FEWEST_IMAGES, min(MOST_IMAGES, MOST_PIXELS // max(1, int(np.prod(shape[1:]))))))
    images = images_of(X, rows)
    if images is not None:
        return image_features(images, rows)
    flat = numbers(X[rows]).reshape(len(rows), -1)
    if not flat.shape[1]:
        return None
    return _series({"mean": flat.mean(1), "deviation": flat.std(1), "share of zeros": (flat == 0).mean(1)}, rows)


def _fewer(rows: Array, most: int) -> Array:
    return rows if len(rows) <= most else np.sort(np.random.default_rng(0).choice(rows, most, replace=False))


def image_features(images: Array, rows: Array) -> Features:
    """Looks of images `(N, H, W)` or `(N, H, W, C)`, a number per image each.

    Brightness and contrast are mean and deviation; sharpness the deviation of the Laplacian; edges the share of pixels
    whose gradient exceeds half the image's contrast; saturation the mean of (max − min) over the channels.
    """
    images = np.nan_to_num(images, nan=0.0, posinf=0.0, neginf=0.0)
    grey = images.mean(-1) if images.ndim == 4 else images
    found = {
        "brightness": grey.mean((1, 2)),
        "contrast": (contrast := grey.std((1, 2))),
        "sharpness": _laplacian(grey).std((1, 2)),
        "edges": _edges(grey, contrast),
    }
    if images.ndim == 4:
        found["saturation"] = (images.max(-1) - images.min(-1)).mean((1, 2))
        for place, colour in enumerate(("red", "green", "blue")[: images.shape[-1]]):
            found[colour] = images[..., place].mean((1, 2))
    return _series(found, rows)


def _laplacian(grey: Array) -> Array:
    inner = grey[:, 1:-1, 1:-1]
    return np.asarray(grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:] - 4 * inner)


def _edges(grey: Array, contrast: Array) -> Array:
    steps = np.hypot(np.diff(grey, axis=1)[:, :, :-1], np.diff(grey, axis=2)[:, :-1, :])
    return np.asarray((steps > 0.5 * contrast[:, None, None]).mean((1, 2)))


def _series(found: Mapping[str, Array], rows: Array) -> Features:
    return {f"{name} of a sample": pd.Series(values, index=rows) for name, values in found.items()}


def condensed(X: Any, rows: Array) -> Array | None:
    """Samples as at most 64 numbers `(N, 64)`: images as a grey picture of 8 × 8, wide rows by a random projection."""
    images = images_of(X, rows)
    if images is not None:
        return thumbnails(np.nan_to_num(images.mean(-1) if images.ndim == 4 else images))
    flat = numbers(X[rows]).reshape(len(rows), -1)
    if not flat.shape[1]:
        return None
    flat = np.nan_to_num(flat, nan=0.0, posinf=0.0, neginf=0.0)
    return np.asarray(flat @ np.random.default_rng(0).normal(size=(flat.shape[1], PROJECTED)))


def thumbnails(grey: Array, side: int = SIDE) -> Array:
    """Images `(N, H, W)` as the means of a grid of at most `side` × `side` parts `(N, D)`."""
    for axis in (1, 2):
        places = np.linspace(0, grey.shape[axis], min(side, grey.shape[axis]) + 1).astype(int)[:-1]
        sizes = np.diff(np.append(places, grey.shape[axis]))
        grey = np.add.reduceat(grey, places, axis=axis) / np.expand_dims(sizes, tuple({0, 1, 2} - {axis}))
    return grey.reshape(len(grey), -1)


def is_prose(column: pd.Series) -> bool:
    """Whether a column holds texts of several words, mostly different ones."""
    if not (column.dtype == object or isinstance(column.dtype, pd.StringDtype)):
        return False
    some = column.dropna().iloc[:LOOKED_AT].tolist()
    if len(some) < 20 or not all(isinstance(value, str) for value in some):
        return False
    return (
        len(set(some)) > DISTINCT * len(some)
        and float(np.median([value.count(" ") + 1 for value in some])) >= FEWEST_WORDS
    )


def text_features(train: pd.Series, other: pd.Series) -> tuple[Features, Features]:
    """Features of at most 3,000 texts each: lengths, kinds of letters, and the share of unknown words.

    A word is unknown where half of train's texts don't hold it.
    """
    one, two = (as_text(column.loc[_fewer(column.index.to_numpy(), MOST_TEXTS)].dropna()) for column in (train, other))
    known, judged = one.iloc[::2], one.iloc[1::2]
    vocabulary = {word for words in _words(known) for word in words}
    first, second = _of_texts(one), _of_texts(two)
    strange, strange_too = _unknown(judged, vocabulary), _unknown(two, vocabulary)
    return first | {"unknown words": strange}, second | {"unknown words": strange_too}


def _words(texts: pd.Series) -> list[list[str]]:
    return texts.str.lower().str.findall(WORDS).tolist()


def _unknown(texts: pd.Series, vocabulary: set[str]) -> pd.Series:
    return pd.Series(
        [sum(word not in vocabulary for word in words) / max(1, len(words)) for words in _words(texts)],
        index=texts.index,
        dtype=float,
    )


def _of_texts(texts: pd.Series) -> dict[str, pd.Series]:
    length = texts.str.len().clip(lower=1)
    words = texts.str.count(r"\S+").clip(lower=1)
    shares = {"letters": r"[^\W\d_]", "digits": r"\d", "capitals": r"[A-Z]", "characters beyond ASCII": r"[^\x00-\x7f]"}
    found = {f"share of {name}": texts.str.count(pattern) / length for name, pattern in shares.items()}
    return {
        "length": texts.str.len().astype(float),
        "words": words.astype(float),
        "length of a word": length / words,
        **found,
    }
