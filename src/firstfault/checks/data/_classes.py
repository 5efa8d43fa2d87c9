"""The classes that a split has beside those of train: unknown ones, written otherwise, and lacking ones."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from firstfault.data.splits import Split, to_array
from firstfault.subject.subject import Subject

Array = np.ndarray[Any, Any]
_EDGES = " \t\r\n\xa0.,;:'\"`"  # what files and people put around a label, and what is no part of it


class Unknown(NamedTuple):
    """The labels of a split that train lacks: those `meant` for a training label, the `new` ones, and their rows."""

    meant: dict[Any, Any]
    new: list[Any]
    meant_rows: int
    new_rows: int
    rows: int


def unknown_labels(subject: Subject, split: Split) -> Unknown:
    """The classes of a split that no training label equals; nothing for labels that are no single classes."""
    train, held = to_array(subject.raw.train.y), to_array(split.y)
    if subject.target.task != "classification" or train.ndim != 1 or held.ndim != 1:
        return Unknown({}, [], 0, 0, len(held))
    known, counts = pd.unique(pd.Series(train).dropna()), pd.Series(held).value_counts().to_dict()
    strange = sorted(counts.keys() - set(known), key=lambda label: -counts[label])
    if not strange:
        return Unknown({}, [], 0, 0, len(held))
    by_spelling = _by_spelling(known)
    meant = {label: by_spelling[plain(label)] for label in strange if plain(label) in by_spelling}
    new = [label for label in strange if label not in meant]
    return Unknown(
        meant, new, sum(counts[label] for label in meant), sum(counts[label] for label in new), sum(counts.values())
    )


def as_in_train(subject: Subject, split: Split) -> Array:
    """The labels of a split, those that are only written otherwise as train writes them."""
    y, meant = to_array(split.y), unknown_labels(subject, split).meant
    return pd.Series(y, dtype=object).map(lambda label: meant.get(label, label)).to_numpy() if meant else y


def shares_no_label(subject: Subject, split: Split) -> bool:
    """Whether no row of a split has a training label, however it is written."""
    unknown = unknown_labels(subject, split)
    return bool(unknown.new) and not unknown.meant and unknown.new_rows == unknown.rows


def lacking(subject: Subject, split: Split, chance: float) -> list[Any]:
    """The classes of train that a split lacks; none where a random one would lack them by `chance` or more."""
    if subject.target.task != "classification" or to_array(subject.raw.train.y).ndim != 1:
        return []
    share = pd.Series(to_array(subject.raw.train.y)).value_counts(normalize=True)
    absent = share[~share.index.isin(pd.unique(pd.Series(as_in_train(subject, split))))]
    return list(absent.index) if (1 - absent.sum()) ** len(split.y) < chance else []


def is_cut_off(subject: Subject, name: str) -> bool:
    """Whether a split may be a piece of sorted rows: it has one class of train at most, and is no folder of images.

    Images are read class by class: their order is that of the folders, and says nothing.
    """
    split = getattr(subject.raw, name)
    shared = set(pd.unique(pd.Series(as_in_train(subject, split)))) & set(
        pd.unique(pd.Series(to_array(subject.raw.train.y)))
    )
    return len(shared) <= 1 and not any(reading.images for reading in subject.source.readings.values())


def _by_spelling(known: Any) -> dict[str, Any]:
    """Training labels by their plain spelling; without those that two labels share."""
    spelled = pd.Series([plain(label) for label in known], dtype=object)
    alone = ~spelled.duplicated(keep=False)
    return {text: label for text, label, single in zip(spelled, known, alone, strict=True) if single and text}


def plain(label: Any) -> str:
    """A label without case, blanks and punctuation around it; numbers as numbers, so that `1.0` is `1`."""
    text = str(label).strip()
    try:
        return repr(float(text))
    except ValueError:
        return re.sub(r"[\s_-]+", " ", text.strip(_EDGES).casefold()).strip()
