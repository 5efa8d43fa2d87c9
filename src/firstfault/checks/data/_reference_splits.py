"""What train is compared with, column by column: samples of the reference and of the splits that the user made.

Columns that differ by nature are left out: times, groups that the user declared, numbers of rows and other identifiers.
Where the labels moved, rows are drawn with equal shares of the classes, so that a shift of the labels is not taken for
one of the inputs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from firstfault.checks.data._distances import as_numbers, column_distance, is_time
from firstfault.checks.data._sample_features import is_prose, sample_features, text_features
from firstfault.checks.data._times import follows_in_time
from firstfault.data.frames import table
from firstfault.data.splits import Split, to_array
from firstfault.data.windows import follow_each_other
from firstfault.subject.subject import Subject
from firstfault.texts import as_text

Array = np.ndarray[Any, Any]

MOST_ROWS = 30_000  # rows of each side: the distance of two such samples errs by 0.008
FEWEST_ROWS = 20  # known values below which all may differ by chance
CLASSES_APART, P_VALUE = 0.15, 1e-3  # from here on labels moved: the bounds of `label_drift`
MOST_CLASSES = 50  # with more, equal shares of each leave too few rows
ROOMY = 3  # whole numbers within three times as many places as rows count the rows
NUMBERED = re.compile(
    r"(^|[^a-z])(id|ids|idx|index|uuid|guid|key|row|rownum|nr|serial|unnamed)([^a-z]|$)", re.IGNORECASE
)


class Pair(NamedTuple):
    """One column of train and of what it is compared with."""

    train: pd.Series
    other: pd.Series


class Compared(NamedTuple):
    """Train beside a split or the reference.

    `columns` are sampled pairs by name, indexed by the position of their rows; `texts` the pairs of prose, which are
    compared by their features only. `left_out` says why a column is not judged; `meant` what makes a difference natural
    (time, group), or an empty text.
    """

    name: str
    columns: Mapping[str, Pair]
    texts: Mapping[str, Pair]
    left_out: Mapping[str, str]
    rows: tuple[Array, Array]
    meant: str


def others(subject: Subject) -> dict[str, Split]:
    """What train is compared with: the reference, and the splits that the user declared."""
    found: dict[str, Split] = {}
    if subject.data.reference is not None:
        found["reference"] = subject.reference
    return found | {name: getattr(subject.raw, name) for name in subject.data.declared_splits}


def compared(subject: Subject, name: str, other: Split, most: int = MOST_ROWS) -> Compared:
    """Train beside `other`, by at most `most` rows of each: effects worth a finding are above their sampling error."""
    train, data = subject.raw.train, subject.data
    first, second = sampled(len(train.y), most, 0), sampled(len(other.y), most, 1)
    matched = _equal_classes(subject, train, other, first, second)
    if matched is not None:
        first, second = matched
    pairs, texts = _pairs(train.X, other.X, first, second)
    left_out = _different_by_nature(pairs, train.X, other.X, (data.time, data.group))
    meant = "" if name == "reference" else split_by(subject, other)
    kept = {column: pair for column, pair in pairs.items() if column not in left_out}
    return Compared(name, kept, texts, left_out, (first, second), meant)


def split_by(subject: Subject, other: Split) -> str:
    """What makes a difference from a split natural: a declared time or group, a column of moments in which it is
    later than train, or windows that follow each other."""
    data = subject.data
    if data.time is None and data.group is None:
        windows = follow_each_other(subject.raw.train.X) and follow_each_other(other.X)
        return "time" if windows or follows_in_time(subject, other) else ""
    return "time" if data.time is not None else "group"


def sampled(count: int, most: int, seed: int) -> Array:
    """The positions of at most `most` of `count` rows, in order."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False, shuffle=False))


def _equal_classes(
    subject: Subject, train: Split, other: Split, first: Array, second: Array
) -> tuple[Array, Array] | None:
    """Rows in which both have equal shares of the classes, where their labels are apart; None where they are not."""
    if subject.target.task != "classification":
        return None
    if np.ndim(train.y) != 1 or np.ndim(other.y) != 1:
        return None
    a, b = (as_text(pd.Series(to_array(split.y)[rows])).to_numpy() for split, rows in ((train, first), (other, second)))
    distance, p = column_distance(pd.Series(a), pd.Series(b))
    if distance <= CLASSES_APART or p >= P_VALUE:
        return None
    shares = pd.DataFrame(
        {"a": pd.Series(a).value_counts(normalize=True), "b": pd.Series(b).value_counts(normalize=True)}
    ).fillna(0.0)
    if len(shares) > MOST_CLASSES:
        return None
    kept = shares.min(axis=1)
    return first[_thinned(a, kept / shares["a"])], second[_thinned(b, kept / shares["b"])]


def _thinned(labels: Array, kept: pd.Series) -> Array:
    """Which rows to keep `(N,)`, when of every class that share is kept."""
    order = np.random.default_rng(2).permutation(len(labels))
    place = np.empty(len(labels))
    place[order] = pd.Series(labels[order]).groupby(labels[order]).cumcount().to_numpy()
    counts = pd.Series(labels).value_counts()
    return np.asarray(place < np.round(pd.Series(labels).map(counts * kept).to_numpy(dtype=float)))


def _pairs(a: Any, b: Any, first: Array, second: Array) -> tuple[dict[str, Pair], dict[str, Pair]]:
    """The columns that both have, as samples, with prose and images by their simple features; and the prose itself."""
    if not len(first) or not len(second):  # no class in common
        return {}, {}
    if not isinstance(a, pd.DataFrame) and not isinstance(b, pd.DataFrame) and np.ndim(a) > 1:
        one, two = sample_features(a, first), sample_features(b, second)
        if one is not None and two is not None:
            return {name: Pair(values, two[name]) for name, values in one.items() if name in two}, {}
    pairs: dict[str, Pair] = {}
    texts: dict[str, Pair] = {}
    for name, pair in _shared(table(a), table(b), first, second):
        if all(map(is_prose, pair)):
            texts[name] = pair
            pairs |= _of_texts(name, pair)
        else:
            pairs[name] = Pair(*map(_coded, pair))
    return pairs, texts


def _coded(column: pd.Series) -> pd.Series:
    """A column of objects as categories, so that each text is looked at once; values without a hash stay."""
    if column.dtype != object:
        return column
    try:
        return column.astype("category")
    except (TypeError, ValueError):
        return column


def _shared(a: pd.DataFrame | None, b: pd.DataFrame | None, first: Array, second: Array) -> Iterator[tuple[str, Pair]]:
    if a is None or b is None:
        return
    one, two = _by_name(a), _by_name(b)
    for name in one:
        if name in two:
            yield name, Pair(one[name].take(first).set_axis(first), two[name].take(second).set_axis(second))


def _by_name(frame: pd.DataFrame) -> dict[str, pd.Series]:
    """The columns by name; of several of one name, the first."""
    return {str(name): frame.iloc[:, place] for place, name in reversed(list(enumerate(frame.columns)))}


def _of_texts(name: str, pair: Pair) -> dict[str, Pair]:
    one, two = text_features(*pair)
    return {f"{feature} of {'a text' if name == '0' else name}": Pair(one[feature], two[feature]) for feature in one}


def _different_by_nature(pairs: Mapping[str, Pair], a: Any, b: Any, declared: tuple[str | None, ...]) -> dict[str, str]:
    reasons = {}
    one, two = (_by_name(X) if isinstance(X, pd.DataFrame) else {} for X in (a, b))
    for name, pair in pairs.items():
        if name in declared:
            reasons[name] = "declared as time or group"
        elif any(map(is_time, pair)):
            reasons[name] = "a time"
        elif _numbers_rows(name, pair.train, one.get(name)) or _numbers_rows(name, pair.other, two.get(name)):
            reasons[name] = "an identifier"
    return reasons


def _numbers_rows(name: str, sample: pd.Series, whole: pd.Series | None) -> bool:
    """Whether a column names its rows: all different; numbers count up, have no large gaps, or are called ids."""
    known = sample.dropna()
    if whole is None or len(known) < FEWEST_ROWS or not _all_differ(known):
        return False
    values = as_numbers(known)
    if values is None:
        return True
    if (values % 1 != 0).any():
        return False
    steps = np.diff(values)
    everything = as_numbers(whole.dropna())
    dense = everything is not None and float(np.ptp(everything)) <= ROOMY * len(whole)
    return dense or bool((steps > 0).all() or (steps < 0).all()) or NUMBERED.search(name) is not None


def _all_differ(known: pd.Series) -> bool:
    try:
        return bool(known.is_unique)
    except TypeError:  # lists and mappings have no hash
        return False
