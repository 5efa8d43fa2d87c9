"""Samples that are almost copies: jittered rows, re-encoded or shifted images, texts that differ in case or marks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from firstfault.check import Depth, Judgement, check, passed, skipped
from firstfault.checks.data._free_texts import free_texts
from firstfault.checks.data._hashing import among, scans
from firstfault.checks.data._pictures import SMALLEST_SIDE, images_of
from firstfault.data.frames import table
from firstfault.data.splits import Split, to_array
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.subject import Subject
from firstfault.texts import as_text

Array = np.ndarray[Any, Any]

MOST_ASKED, MOST_KNOWN = 3_000, 20_000  # these three bound the time of all distances
MOST_IMAGES_ASKED, MOST_IMAGES_KNOWN = 1_000, 8_000  # bound the time: five shifts of each
MOST_TEXTS = 50_000  # bounds the time and memory
FEWEST = 40  # samples from which the dimension can be estimated
FEWEST_COLUMNS = 3  # in one or two dimensions near neighbours are no news
NEIGHBOURS = 10  # the fifth to ninth tell the dimension by their distance to the tenth
THUMBNAIL = 16  # pixels: re-encoding and a shift by one leave 16 × 16 alike
LONG_TEXT = 20  # letters: shorter texts are equal by chance
CHUNK = 250  # rows of a distance matrix of 40 MB


class _Found(NamedTuple):
    """The share of samples that have an almost-copy, how many were looked at, and the share that nature explains."""

    share: float
    looked_at: int
    natural: float

    @property
    def copies(self) -> int:
        """How many have one."""
        return round(self.share * self.looked_at)


@check(layer=Layer.DATA, needs={"raw"}, detects={"split_overlap": 0.92, "duplicate_rows": 0.6}, depth=Depth.STANDARD)
def near_duplicates(
    subject: Subject,
    *,
    share: float = 0.02,
    fewest: int = 5,
    near: float = 0.1,
    near_images: float = 0.15,
    times_natural: float = 5.0,
) -> Iterator[Judgement]:
    """Find samples that are almost copies of training samples, in train and in the declared splits.

    Measures: the share of up to 3,000 samples whose nearest neighbour among up to 20,000, equal ones aside, is nearer
        than `near` times the distance of the fifth (`near_images` for images). Rows are compared on their continuous
        columns, images as thumbnails without brightness, also shifted by a pixel, texts without case, spaces and marks.
    Fails when: of a declared split at least `fewest` samples have such a neighbour, more than `share`, and more than
        `times_natural` times what the data's own dimension explains.
    Warns when: the same holds within train.
    Not a fault when: the data have few dimensions, where near neighbours are natural: the expected share takes account
        of it.
    Source: nearest-neighbour ratios and dimension after Facco et al. 2017; Barz & Denzler 2020 for images. The bounds
        are a choice of ours; tests/checks/data/test_near_duplicates.py holds the cases that they separate.
    """
    raw = subject.raw
    train = _points(raw.train)
    if train is None or subject.target.task == "language_model":
        yield skipped(
            f"only images, long texts and tables of {FEWEST_COLUMNS} continuous columns and {FEWEST} rows are looked at"
        )
        return
    nearer = near_images if np.ndim(raw.train.X) >= 3 else near
    for name in subject.data.declared_splits:
        found = _across(subject, name, nearer)
        if found is not None and _counts(found, share, fewest, times_natural):
            yield _judged(found, name, Status.FAIL, {"split_overlap": 0.92}, share)
            return
    within = _within(subject, nearer)
    if within is not None and _counts(within, share, fewest, times_natural):
        yield _judged(within, "train", Status.WARN, {"duplicate_rows": 0.6}, share)
        return
    yield passed("no more samples are almost alike than the data explain", value=within.share if within else 0.0)


def _counts(found: _Found, share: float, fewest: int, times_natural: float) -> bool:
    return found.copies >= fewest and found.share > max(share, times_natural * found.natural)


def _judged(found: _Found, name: str, status: Status, faults: dict[str, float], share: float) -> Judgement:
    return Judgement(
        status,
        f"{found.copies} of {found.looked_at} samples of {name} are almost copies of "
        f"{'other ' if name == 'train' else ''}training samples",
        value=found.share,
        threshold=share,
        where=Place.data(name),
        faults=faults,
        fix="remove near duplicates before splitting, or keep them in one split",
    )


def _across(subject: Subject, name: str, near: float) -> _Found | None:
    train, split, rows = subject.raw.train, getattr(subject.raw, name), scans(subject)
    texts, known = _texts(split), _texts(train)
    if texts is not None and known is not None:
        return _text_variants(texts, known)
    asked = _some(np.arange(len(split.y)), _most(train)[0], 0)
    fresh = ~among(rows[name].hashes[asked], np.sort(rows["train"].hashes))
    others = _different(_some(np.arange(len(train.y)), _most(train)[1], 1), rows["train"].hashes)
    return _neighbours(split, asked[fresh], train, others, near, among_own=False)


def _within(subject: Subject, near: float) -> _Found | None:
    train, hashes = subject.raw.train, scans(subject)["train"].hashes
    texts = _texts(train)
    if texts is not None:
        return _text_variants(texts, None)
    asked, known = _most(train)
    rows = _different(np.random.default_rng(0).permutation(len(train.y))[:known], hashes)
    return _neighbours(train, rows[:asked], train, rows, near, among_own=True)


def _most(train: Split) -> tuple[int, int]:
    return (MOST_IMAGES_ASKED, MOST_IMAGES_KNOWN) if np.ndim(train.X) >= 3 else (MOST_ASKED, MOST_KNOWN)


def _different(rows: Array, hashes: Array) -> Array:
    """The given rows without those that equal an earlier one."""
    return rows[~pd.Series(hashes[rows]).duplicated().to_numpy()]


def _points(split: Split) -> Any:
    texts = _texts(split)
    return texts if texts is not None else _vectors(split, np.arange(min(len(split.y), FEWEST)), split)


def _neighbours(
    split: Split, asked: Array, train: Split, known: Array, near: float, *, among_own: bool
) -> _Found | None:
    images = np.ndim(train.X) >= 3
    if len(known) < FEWEST or len(asked) < 1:
        return None
    base = _vectors(train, known, train)
    if base is None:
        return None
    distances = None
    for shift in ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0)) if images and not among_own else ((0, 0),):
        points = _vectors(split, asked, train, shift)
        if points is None or points.shape[1] != base.shape[1]:
            return None
        found = _nearest(points, base, NEIGHBOURS + 1)
        found = found[:, 1:] if among_own else found[:, :NEIGHBOURS]
        distances = found if distances is None else np.where(found[:, :1] < distances[:, :1], found, distances)
    assert distances is not None
    return _found(distances, near)


def _found(distances: Array, near: float) -> _Found:
    usable = distances[distances[:, 4] > 0]
    if len(usable) < FEWEST:
        return _Found(0.0, len(usable), 1.0)
    far = usable[:, 4:]  # the fifth and later neighbours tell the dimension, copies or not
    spread = np.log(far[:, -1:] / np.maximum(far, 1e-300))[:, :-1].mean()
    dimension = max(1.0, _dimension(far.shape[1]) / max(float(spread), 1e-9))
    natural = 1 - (1 - near**dimension) ** 4
    return _Found(float((usable[:, 0] < near * usable[:, 4]).mean()), len(usable), float(natural))


def _dimension(neighbours: int) -> float:
    """The mean of log(d₁₀/d_k) over k = 5…9 for one dimension, as distances grow like k^(1/dimension)."""
    ranks = np.arange(NEIGHBOURS - neighbours + 1, NEIGHBOURS)
    return float(np.log(NEIGHBOURS / ranks).mean())


def _nearest(points: Array, base: Array, count: int) -> Array:
    """Sorted distances `(n, count)` to the nearest points of the base."""
    squares = (base**2).sum(1)
    parts = []
    for start in range(0, len(points), CHUNK):
        some = points[start : start + CHUNK]
        distances = squares[None] - 2 * some @ base.T + (some**2).sum(1)[:, None]
        parts.append(np.sort(np.partition(distances, min(count, len(base) - 1), axis=1)[:, :count], axis=1))
    return np.sqrt(np.maximum(np.concatenate(parts), 0.0))


def _vectors(split: Split, rows: Array, train: Split, shift: tuple[int, int] = (0, 0)) -> Array | None:
    """Samples as comparable points `(n, D)`: standardised continuous columns, or thumbnails; None for other data."""
    if np.ndim(train.X) >= 3 and not isinstance(train.X, pd.DataFrame):
        return _thumbnails(to_array(split.X[rows]), shift)
    columns = _continuous(train)
    if len(columns) < FEWEST_COLUMNS or len(train.y) < FEWEST:
        return None
    frame, own = table(train.X), table(split.X)
    if frame is None or own is None:
        return None
    values = []
    for place in columns:
        column = frame.iloc[:MOST_KNOWN, place].to_numpy(float)
        middle, scale = np.nanmedian(column), np.nanpercentile(column, 84) - np.nanpercentile(column, 16)
        values.append((own.iloc[rows, place].to_numpy(float) - middle) / max(scale, 1e-12))
    return np.nan_to_num(np.column_stack(values), nan=0.0, posinf=0.0, neginf=0.0).clip(-20, 20).astype(np.float64)


def _continuous(train: Split) -> list[int]:
    """The columns of floats of which most values are different."""
    frame = table(train.X)
    if frame is None or frame.columns.has_duplicates:
        return []
    some = frame.iloc[:1_000]
    return [
        place
        for place, kind in enumerate(some.dtypes)
        if isinstance(kind, np.dtype) and kind.kind == "f" and some.iloc[:, place].nunique() > 0.5 * len(some)
    ]


def _thumbnails(images: Array, shift: tuple[int, int]) -> Array | None:
    """Grey thumbnails of up to 16 × 16 without their mean and contrast `(n, D)`; None for what is no image."""
    found = images_of(images, slice(None))
    if found is None or min(found.shape[1:3]) < SMALLEST_SIDE:
        return None
    images = found.mean(-1) if found.ndim == 4 else found
    images = np.nan_to_num(np.roll(images, shift, axis=(1, 2)))
    for axis in (1, 2):
        edges = np.linspace(0, images.shape[axis], min(THUMBNAIL, images.shape[axis]) + 1).astype(int)
        images = np.add.reduceat(images, edges[:-1], axis=axis) / np.expand_dims(
            np.diff(edges), tuple({0, 1, 2} - {axis})
        )
    flat = images.reshape(len(images), -1).astype(np.float64)
    flat -= flat.mean(1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)


def _texts(split: Split) -> Array | None:
    """The first texts of the first column that holds free text."""
    column = next(iter(free_texts(split.X).values()), None)
    return None if column is None else as_text(column.iloc[:MOST_TEXTS].fillna("")).to_numpy(object)


def _text_variants(texts: Array, known: Array | None) -> _Found:
    """Texts that equal a known one but for case, spaces and punctuation; without `known`, another of the same texts."""
    keys, own = _plain(texts), pd.Series(texts)
    long = (keys.str.len() > LONG_TEXT).to_numpy()
    if known is None:
        twice = own.duplicated().to_numpy()
        variants = keys.duplicated().to_numpy() & ~twice & long
    else:
        variants = keys.isin(set(_plain(known))).to_numpy() & ~own.isin(set(known)).to_numpy() & long
    return _Found(float(variants.mean()) if len(texts) else 0.0, len(texts), 0.0)


def _plain(texts: Array) -> pd.Series:
    return as_text(pd.Series(texts, dtype=object)).str.casefold().str.replace(r"[\W_]+", "", regex=True)


def _some(rows: Array, most: int, seed: int) -> Array:
    return rows if len(rows) <= most else np.sort(np.random.default_rng(seed).choice(rows, max(0, most), replace=False))
