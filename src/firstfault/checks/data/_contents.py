"""What samples hold that no column says: words of texts, tokens of sequences, the coarse picture of large images."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from firstfault.checks.data._free_texts import free_texts
from firstfault.checks.data._pictures import images_of
from firstfault.checks.data._sample_features import DISTINCT, thumbnails
from firstfault.data.splits import to_array
from firstfault.subject.baselines import MOST_COLUMNS
from firstfault.subject.subject import Subject

Array = np.ndarray[Any, Any]

# All bound the time and memory of the two fast models that read them.
MOST_WORDS, MOST_LETTERS, FEWEST_TEXTS = 400, 5_000, 3  # words, letters of a text, and texts of each word
LETTERS = 3  # that stand beside each other: endings of names, codons
MOST_TOKENS = 512  # ids that are counted: larger ones share a place with smaller ones
MOST_PIXELS, FEWEST_IMAGES, AT_ONCE = 30_000_000, 300, 100  # 240 MB of floats at most, a hundred images at a time


def contents(subject: Subject, X: Any, rows: Array) -> Array | None:
    """The given samples as numbers `(N, D)` beside those of their columns; None where the columns say all.

    Of free text the 400 commonest words, of names and other single words that are all there is their commonest letters
    and pairs and triples of these, of token ids (a model that embeds them) how often each of 512 occurs, of
    images with more than 1,024 values the means of a grid.
    """
    found = [part for part in (_words(X, rows), _tokens(subject, X, rows), _grid(X, rows)) if part is not None]
    return np.column_stack(found) if found else None


def most_rows(X: Any, most: int) -> int:
    """How many samples can be looked at: fewer of large images."""
    size = 1 if isinstance(X, pd.DataFrame) else int(np.prod(np.shape(X)[1:]))
    return min(most, max(FEWEST_IMAGES, MOST_PIXELS // max(1, size)))


def wordings(X: Any) -> tuple[Mapping[str, pd.Series], str]:
    """The columns whose wording is looked at, and whether by word or by char, as where names are all there is."""
    free = free_texts(X)
    if free or not isinstance(X, pd.DataFrame) or X.shape[1] != 1:
        return free, "word"
    column = X.iloc[:, 0]
    named = bool(column.map(lambda value: isinstance(value, str)).all()) and column.nunique() > DISTINCT * len(column)
    return ({str(X.columns[0]): column} if named else {}), "char"


def _words(X: Any, rows: Array) -> Array | None:
    from sklearn.feature_extraction.text import CountVectorizer

    parts, (columns, unit) = [], wordings(X)
    sizes = (1, 1) if unit == "word" else (1, LETTERS)
    for column in columns.values():
        texts = [str(value)[:MOST_LETTERS] if isinstance(value, str) else "" for value in column.iloc[rows]]
        counter = CountVectorizer(
            binary=True, analyzer=unit, ngram_range=sizes, min_df=FEWEST_TEXTS, max_features=MOST_WORDS
        )
        with contextlib.suppress(ValueError):  # no word is common enough
            parts.append(counter.fit_transform(texts).toarray().astype(float))
    return np.column_stack(parts) if parts else None


def _tokens(subject: Subject, X: Any, rows: Array) -> Array | None:
    if isinstance(X, pd.DataFrame) or np.ndim(X) != 2 or not _embeds(subject):
        return None
    ids = to_array(X)[rows]
    if ids.dtype.kind not in "iu":
        return None
    places = np.arange(len(ids))[:, None] * MOST_TOKENS + ids.astype(np.int64) % MOST_TOKENS
    counts = np.bincount(places.ravel(), minlength=len(ids) * MOST_TOKENS).reshape(len(ids), MOST_TOKENS)
    return counts[:, : int(ids.max(initial=0)) + 1].astype(float)


def _embeds(subject: Subject) -> bool:
    from torch import nn

    with contextlib.suppress(Exception):  # a model that cannot be built is told in its layer
        return any(isinstance(module, nn.Embedding | nn.EmbeddingBag) for module in subject.model.modules())
    return False


def _grid(X: Any, rows: Array) -> Array | None:
    if isinstance(X, pd.DataFrame) or np.ndim(X) not in (3, 4) or int(np.prod(np.shape(X)[1:])) <= MOST_COLUMNS:
        return None
    parts = []
    for start in range(0, len(rows), AT_ONCE):
        images = images_of(X, rows[start : start + AT_ONCE])
        if images is None:
            return None
        images = np.nan_to_num(images[..., None] if images.ndim == 3 else images, posinf=0.0, neginf=0.0)
        side = int(np.sqrt(MOST_COLUMNS // images.shape[-1]))
        parts.append(np.column_stack([thumbnails(images[..., channel], side) for channel in range(images.shape[-1])]))
    return np.concatenate(parts) if parts else None
