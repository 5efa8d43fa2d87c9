"""Markers that give the label away: a stamp in a corner of the images of one class, or a tag in its texts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from firstfault.charts.files import write_picture
from firstfault.charts.svg import Part, grid, whole, words
from firstfault.charts.tiles import Tile, tiles
from firstfault.check import Depth, Judgement, check, passed, skipped
from firstfault.checks.data._free_texts import free_texts
from firstfault.checks.data._pictures import images_of
from firstfault.data.splits import Split, to_array
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.subject import Subject

Array = np.ndarray[Any, Any]

MOST_IMAGES, MOST_TEXTS = 1_000, 2_000  # a share of so many errs by 1 %
MOST_VALUES = 1 << 24  # 64 MB of pixels
FEWEST_OF_CLASS = 10  # with fewer, samples agree by chance
FEWEST_PIXELS = 3  # of a stamp: single pixels agree by chance
VARIES = 0.02  # of the other pixels that must differ between images: else all is one stamp
SMALLEST_SIDE = 8  # pixels: the outer eighth is then one pixel
MOST_MARKERS = 3  # words that mark a class together; the fourth tells its topic


class _Stamp(NamedTuple):
    """The box `(top, left, bottom, right)` of the pixels that mark a class."""

    label: Any
    box: tuple[int, int, int, int]
    pixels: int
    own: float
    others: float


@check(layer=Layer.DATA, needs={"raw"}, detects={"spurious_shortcut": 0.92}, depth=Depth.STANDARD)
def spurious_shortcut(
    subject: Subject,
    *,
    own: float = 0.98,
    others: float = 0.02,
    likely: float = 0.9,
    same: float = 0.05,
    most_area: float = 0.15,
    clear_gap: float = 0.25,
) -> Iterator[Judgement]:
    """Find a marker that tells a class: a stamp near the border of its images, or a tag in its texts.

    Measures: the share of the class that has the marker, in up to 1,000 images or 2,000 texts. A stamp is a region that
        takes at most `most_area` of the image, reaches into its outer eighth, and has pixels within `same` (of the
        range of values) of each other, while the rest of the images varies. A tag is a word with a digit or sign in it.
    Fails when: the marker is in `own` of the class's samples, and in at most `others` of the other samples. A tag must
        also be `clear_gap` ahead of the fourth best word.
    Warns when: it is in `likely` of the class and in at most 5 % of the others, or the word is an ordinary one.
    Source: Lapuschkin et al. 2019 (a source tag in the horse images of PASCAL VOC); Geirhos et al. 2020, shortcut
        learning. The bounds are a choice of ours; tests/checks/data/test_shortcut.py holds the cases that they
        separate.
    """
    train = subject.raw.train
    y = to_array(train.y)
    if subject.target.task != "classification" or y.ndim != 1:
        yield skipped("only classes are told by a marker")
        return
    images, labels = _images(train, y)
    if images is not None:
        yield _judge_images(subject, images, labels, own, others, likely, same, most_area)
        return
    texts, labels = _texts(train, y)
    if texts is not None:
        yield _judge_texts(texts, labels, own, others, likely, clear_gap)
        return
    yield skipped("only images and texts are looked at; a column that tells the label is target_leakage")


def _judge_images(
    subject: Subject,
    images: Array,
    labels: Array,
    own: float,
    others: float,
    likely: float,
    same: float,
    most_area: float,
) -> Judgement:
    for least, most, status in ((own, others, Status.FAIL), (likely, max(others, 0.05), Status.WARN)):
        stamp = _stamp(images, labels, least, most, same, most_area)
        if stamp is None:
            continue
        top, left, bottom, right = stamp.box
        where = f"rows {top}–{bottom}, columns {left}–{right}"
        return Judgement(
            status,
            f"{stamp.pixels} pixels in {where} are the same in {stamp.own:.0%} of the images of class {stamp.label}, "
            f"and in {stamp.others:.0%} of the others",
            value=stamp.own,
            threshold=own,
            where=Place.part(where),
            faults={"spurious_shortcut": 0.92 if status is Status.FAIL else 0.5},
            fix="crop or paint over the region in all images",
            artifacts=_draw(subject.folder, images, labels, stamp),
        )
    return passed("no small region near the border marks a class")


def _images(train: Split, y: Array) -> tuple[Array | None, Array]:
    """Images `(n, H, W, C)` as float32 of 0–1 and their labels; classes of fewer than 10 are left out."""
    if np.ndim(train.X) not in (3, 4):
        return None, y
    most = min(MOST_IMAGES, max(1, MOST_VALUES // max(1, int(np.prod(np.shape(train.X)[1:])))))
    rows = np.sort(np.random.default_rng(0).permutation(len(y))[:most])
    images, labels = images_of(train.X, rows), y[rows]
    if images is None or min(images.shape[1:3]) < SMALLEST_SIDE:
        return None, y
    images = np.nan_to_num(images).reshape(*images.shape[:3], -1).astype(np.float32)
    common = pd.Series(labels).groupby(labels).transform("size").to_numpy() >= FEWEST_OF_CLASS
    images, labels = images[common], labels[common]
    if len(pd.unique(pd.Series(labels))) < 2:
        return None, y
    low, high = float(images.min()), float(images.max())
    return (images - low) / max(high - low, 1e-9), labels


def _stamp(
    images: Array, labels: Array, own: float, others: float, tolerance: float, most_area: float
) -> _Stamp | None:
    """The class whose images share a small constant region that the other images lack."""
    found = []
    for label in pd.unique(pd.Series(labels)):
        inside = labels == label
        middle = np.median(images[inside], axis=0)
        same = (np.abs(images - middle) < tolerance).all(-1)  # (n, H, W)
        marked = (same[inside].mean(0) >= own) & (same[~inside].mean(0) <= max(others, 1 - own) * 2)
        if marked.sum() < FEWEST_PIXELS or not _varies(images[inside], marked, tolerance):
            continue
        box = _box(marked)
        matches = same[:, marked].mean(1) > 0.9
        shares = float(matches[inside].mean()), float(matches[~inside].mean())
        if shares[0] >= own and shares[1] <= others and _small_and_outside(box, marked.shape, most_area):
            found.append(_Stamp(label, box, int(marked.sum()), *shares))
    return max(found, key=lambda stamp: stamp.own - stamp.others) if found else None


def _varies(images: Array, marked: Array, tolerance: float) -> bool:
    """Whether the images differ away from the marked pixels."""
    spread = np.abs(images - np.median(images, axis=0)).max(-1) > tolerance
    return bool(spread[:, ~marked].mean() > VARIES)


def _box(marked: Array) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(marked.any(1)), np.flatnonzero(marked.any(0))
    return int(rows[0]), int(columns[0]), int(rows[-1]), int(columns[-1])


def _small_and_outside(box: tuple[int, int, int, int], shape: Sequence[int], most_area: float) -> bool:
    """Whether a box takes little of the image, or is a strip, and reaches into its outer eighth."""
    top, left, bottom, right = box
    area = (bottom - top + 1) * (right - left + 1) / (shape[0] * shape[1])
    edge = [max(1, round(size / 8)) for size in shape]
    outside = top < edge[0] or left < edge[1] or bottom >= shape[0] - edge[0] or right >= shape[1] - edge[1]
    return area <= most_area and outside


def _draw(folder: Path, images: Array, labels: Array, stamp: _Stamp) -> tuple[str, ...]:
    """Draw some images with and without the marker, the region framed."""
    inside = labels == stamp.label
    rows = [_row(f"class {stamp.label}", images[inside], stamp), _row("other classes", images[~inside], stamp)]
    title = f"The region that marks class {stamp.label}"
    return (write_picture(folder, "shortcut_region.svg", whole(title, grid(rows, 1, 8))),)


def _row(title: str, images: Array, stamp: _Stamp) -> Part:
    """The first four images below their title, all in the same scale of values."""
    drawn = tiles([[Tile(image, frame=stamp.box, bounds=(0.0, 1.0)) for image in images[:4]]])
    return grid([Part(words(title, 0, 12, "heading"), drawn.width, 14, title), drawn], 1, 4)


def _texts(train: Split, y: Array) -> tuple[list[str] | None, Array]:
    """The texts of the first column of long texts and their labels."""
    columns = free_texts(train.X)
    if not columns:
        return None, y
    rows = np.sort(np.random.default_rng(0).permutation(len(y))[:MOST_TEXTS])
    column = next(iter(columns.values())).iloc[rows]
    return [value if isinstance(value, str) else "" for value in column.tolist()], y[rows]


def _judge_texts(
    texts: list[str], labels: Array, own: float, others: float, likely: float, clear_gap: float
) -> Judgement:
    words = [set(text.split()) for text in texts]
    best: tuple[float, float, float, str, Any] | None = None
    for label in pd.unique(pd.Series(labels).dropna()):
        inside = labels == label
        if FEWEST_OF_CLASS <= inside.sum() <= len(texts) - FEWEST_OF_CLASS:
            found = _marker(words, inside)
            best = max(best, (*found, label), key=lambda entry: entry[0]) if best else (*found, label)
    if best is None:
        return skipped("each class has too few texts")
    lead, inside_share, outside_share, word, label = best
    tag = re.search(r"[^\w\s.,;:!?'\"()-]|\d|_", word) is not None
    certain = inside_share >= own and outside_share <= others and tag
    if lead < clear_gap or inside_share < likely or outside_share > max(others, 0.05):
        return passed("no single word marks a class")
    from firstfault.data.privacy.masking import masked_text

    return Judgement(
        Status.FAIL if certain else Status.WARN,
        f"the word {masked_text(word)!r} is in {inside_share:.0%} of the texts of class {label}, and in "
        f"{outside_share:.0%} of the others",
        value=inside_share,
        threshold=own,
        where=Place.cases(masked_text(word)),
        faults={"spurious_shortcut": 0.92 if certain else 0.5},
        fix="remove the word from all texts",
    )


def _marker(words: list[set[str]], inside: Array) -> tuple[float, float, float, str]:
    """The word that tells a class best: its lead over the fourth best, its shares inside and outside, and itself."""
    within = Counter(word for place in np.flatnonzero(inside) for word in words[place])
    without = Counter(word for place in np.flatnonzero(~inside) for word in words[place])
    size, rest = int(inside.sum()), int((~inside).sum())
    ranked = sorted(((within[word] / size - without[word] / rest, word) for word in within), reverse=True)[
        : MOST_MARKERS + 1
    ]
    score, word = ranked[0] if ranked else (0.0, "")
    following = ranked[MOST_MARKERS][0] if len(ranked) > MOST_MARKERS else 0.0
    return score - following, within[word] / size, without[word] / rest, word
