"""Samples that are unlike all others: rows of noise among rows that hang together, and images without content."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from firstfault.check import Depth, Judgement, check, passed, skipped
from firstfault.checks.data._out_of_fold import sampled
from firstfault.checks.data._pictures import gallery, images_of
from firstfault.checks.data.suspects import shown_values
from firstfault.data.frames import table
from firstfault.data.splits import to_array
from firstfault.finding import Layer, Status
from firstfault.output.spreadsheets import write_frame
from firstfault.place import Kind, Place
from firstfault.subject.subject import Subject

Array = np.ndarray[Any, Any]

TABLE, PICTURE = "outliers.csv", "outliers.svg"
FEWEST_ROWS = 200  # a group of 2 % has four rows
MOST_ROWS = 1_500  # bounds the time of the search for neighbours
FEWEST_COLUMNS = 3  # in one or two dimensions noise lies among the rows
FEWEST_VALUES = 10  # distinct values below which a column is a code
NEIGHBOURS = 5  # a few copies of a row don't hide it
PROJECTED = 64  # directions that keep distances to about a tenth, and bound the search
LISTED = 200  # rows that a person looks through
DRAWN = 16  # images in the picture
MOST_IMAGES, FEWEST_IMAGES = 1_000, 50  # with the next, bound the memory to 80 MB, unless fifty images take more
MOST_PIXELS = 10_000_000  # of all images together


class Apart(NamedTuple):
    """How a part of the rows lies apart: its separation in deviations, its gap (log), its share, and the border."""

    separation: float
    gap: float
    share: float
    border: float


@check(layer=Layer.DATA, needs={"raw"}, detects={"noisy_features": 0.75}, depth=Depth.STANDARD)
def noisy_rows(
    subject: Subject, *, separation: float = 4.8, gap: float = 0.7, share: float = 0.02, most: float = 0.4
) -> Iterator[Judgement]:
    """Find a part of the training rows that is noise among rows that hang together.

    Measures: the share of that part. Every number of at most 1,500 rows is replaced by its normal score, so that skewed
        and heavy-tailed columns are alike, and a row is rated by the log of its distance to the 5th nearest other. The
        ratings are cut into two groups. `outliers.csv` lists the most distant rows in any case, personal values masked.
    Fails when: the groups are more than `separation` deviations and more than `gap` apart, and the farther one holds
        between `share` and `most` of the rows. Rows of noise are far from the bulk, and from each other.
    Not a fault when: one class holds most of the part, and is that part of it by nature.
    Source: Ramaswamy et al. 2000 (distance to the k-th neighbour); Otsu 1979 (two groups of one number). Bounds chosen
        on 35 real tables (KEEL, UCI, scikit-learn), as they are and with 10 and 25 % of their rows replaced by or mixed
        with noise.
    """
    train = subject.raw.train
    frame = table(train.X)
    values, rows = (None, np.zeros(0, int)) if frame is None else _numbers(frame)
    if values is None:
        yield skipped(
            f"only tables of at least {FEWEST_ROWS} rows and {FEWEST_COLUMNS} columns of many values are looked at"
        )
        return
    rating = remoteness(values)
    part = apart(rating)
    far = rating >= part.border
    found = part.separation > separation and part.gap > gap and share < part.share < most
    by_nature = found and _of_one_class(subject, rows, far)
    files = _listed(subject, rows, rating, int(far.sum()) if found else len(rows) // 100)
    if found and not by_nature:
        yield Judgement(
            Status.FAIL,
            f"{part.share:.1%} of {len(rows)} training rows looked at are far from all others "
            f"({part.separation:.1f} deviations beyond the rest, {np.exp(part.gap):.1f} times as far), as noise is",
            value=part.share,
            threshold=share,
            where=Place.data("train"),
            fix=f"look at the rows in {TABLE}: repair or remove what was corrupted",
            artifacts=files,
        )
        return
    note = "; a part that lies apart is of one class" if by_nature else ""
    yield Judgement(
        Status.PASS,
        f"no part of {len(rows)} rows looked at is noise among the others{note}",
        value=part.share if found else 0.0,
        threshold=share,
        artifacts=files,
    )


def _numbers(frame: pd.DataFrame) -> tuple[Array | None, Array]:
    """Columns of many values `(N, D)` of a sample without missing cells (the median instead), and the rows' places."""
    rows = sampled(len(frame), MOST_ROWS)
    numeric = frame.iloc[rows].select_dtypes(include=["number"])
    numeric = numeric.loc[:, (numeric.nunique() > FEWEST_VALUES).to_numpy()]
    if len(rows) < FEWEST_ROWS or numeric.shape[1] < FEWEST_COLUMNS:
        return None, rows
    values = numeric.to_numpy(dtype=float, na_value=np.nan)
    values = np.where(np.isfinite(values), values, np.nan)
    return np.where(np.isnan(values), np.nanmedian(values, axis=0), values), rows


def remoteness(values: Array) -> Array:
    """The log distance `(N,)` of every row of `(N, D)` to its 5th nearest other, among normal scores."""
    from scipy.stats import norm, rankdata
    from sklearn.neighbors import NearestNeighbors

    scores = norm.ppf((rankdata(values, axis=0) - 0.5) / len(values))
    if scores.shape[1] > PROJECTED:
        scores = scores @ np.random.default_rng(0).normal(size=(scores.shape[1], PROJECTED)) / np.sqrt(PROJECTED)
    distance = NearestNeighbors(n_neighbors=NEIGHBOURS + 1).fit(scores).kneighbors(scores)[0][:, -1]
    return np.log(np.maximum(distance, np.quantile(distance, 0.05) + 1e-9))


def apart(rating: Array) -> Apart:
    """The split of ratings `(N,)` into a nearer half or more and a farther part (1 % at least) that differ the most."""
    ordered = np.sort(rating)
    n = len(ordered)
    cuts = np.arange(max(5, n // 2), n - max(5, n // 100))
    low, total = np.cumsum(ordered)[cuts - 1], ordered.sum()
    between = cuts * (n - cuts) * (low / cuts - (total - low) / (n - cuts)) ** 2
    cut = int(cuts[np.argmax(between)])
    near, far = ordered[:cut], ordered[cut:]
    gap = float(far.mean() - near.mean())
    return Apart(gap / float(np.sqrt((near.var() + far.var()) / 2 + 1e-12)), gap, (n - cut) / n, float(ordered[cut]))


def _of_one_class(subject: Subject, rows: Array, marked: Array, most: float = 0.8) -> bool:
    """Whether one class holds most of the marked rows, and they a good part of it: then the class looks like that."""
    y = to_array(subject.raw.train.y)
    if subject.target.task != "classification" or y.ndim != 1 or not marked.any():
        return False
    codes = pd.factorize(pd.Series(y[rows]))[0] + 1
    held, all_of = np.bincount(codes[marked], minlength=codes.max() + 1), np.bincount(codes)
    top = int(held.argmax())
    return bool(
        held[top] > most * marked.sum() and held[top] > most / 2 * all_of[top] and all_of[top] < most * len(rows)
    )


def _listed(subject: Subject, rows: Array, rating: Array, count: int) -> tuple[str, ...]:
    order = np.argsort(-rating)[: min(max(count, 1), LISTED)]
    listed = pd.DataFrame({"train_row": rows[order], "distance": np.exp(rating[order]).round(4)})
    values = shown_values(subject.raw.train.X, rows[order])
    write_frame(subject.folder / TABLE, listed if values is None else pd.concat([listed, values], axis=1))
    return (TABLE,)


@check(layer=Layer.DATA, needs={"raw"}, detects={"noisy_features": 0.92})
def images_without_content(
    subject: Subject,
    *,
    share: float = 0.02,
    fewest: int = 5,
    noise: float = 0.25,
    ordinary: float = 0.5,
    saturated: float = 0.98,
) -> Iterator[Judgement]:
    """Find training images of one value, of noise, or saturated throughout.

    Measures: their share of at most 1,000 images (of large ones as many as ten million pixels, but 50). An image is
        noise when the correlation of its neighbouring pixels is below `noise` and six deviations below that of the
        others, half of which are above `ordinary`. It is saturated when more than `saturated` of its pixels have the
        least or the greatest value of all images, while half of the images have fewer than half such pixels.
    Fails when: the share is above `share`, and at least `fewest` images have no content.
    Warns when: there is one. `outliers.svg` draws 16 of them.
    Not a fault when: they are what one class looks like.
    Source: Ruderman 1994, statistics of natural images (neighbouring pixels are correlated). The bounds are a choice of
        ours; tests/checks/data/test_outliers.py holds the cases that they separate.
    """
    X = subject.raw.train.X
    size = max(1, int(np.prod(np.shape(X)[1:])))
    rows = sampled(len(subject.raw.train.y), min(MOST_IMAGES, max(FEWEST_IMAGES, MOST_PIXELS // size)))
    images = images_of(X, rows)
    if images is None or len(images) < 2 * fewest:
        yield skipped(f"only images, at least {2 * fewest} of them, are looked at")
        return
    reasons = _reasons(np.nan_to_num(images), noise, ordinary, saturated)
    bad = reasons != ""
    value = float(bad.mean())
    if not bad.any():
        yield passed(f"each of {len(rows)} images has content", value=0.0)
        return
    fault = value > share and bad.sum() >= fewest and not _of_one_class(subject, rows, bad)
    places = np.flatnonzero(bad)[:DRAWN]
    captions = [str(reason) for reason in reasons[places]]
    drawn = gallery(images[places], captions, subject.folder, PICTURE, title="Images without content")
    told = ", ".join(f"{count} {reason}" for reason, count in pd.Series(reasons[bad]).value_counts().items())
    yield Judgement(
        Status.FAIL if fault else Status.WARN,
        f"{int(bad.sum())} of {len(rows)} training images have no content: {told}",
        value=value,
        threshold=share,
        where=Place(Kind.ROW, tuple(map(str, rows[places][:5])), "train"),
        faults=None if fault else {},
        fix="look at these images, then repair or remove them",
        artifacts=(drawn,),
    )


def _reasons(images: Array, noise: float, ordinary: float, saturated: float) -> Array:
    """What is wrong with each image of `(N, H, W[, 3])`; empty text where nothing is."""
    flat = images.reshape(len(images), -1)
    alike = neighbour_correlation(images)
    extreme = np.maximum((flat == flat.min()).mean(1), (flat == flat.max()).mean(1))
    constant = flat.std(1) < 1e-6 * max(float(flat.std()), 1e-12)
    middle = float(np.median(alike[~constant])) if (~constant).any() else 0.0
    spread = 1.4826 * float(np.median(np.abs(alike[~constant] - middle))) if (~constant).any() else 0.0
    noisy = (alike < min(noise, middle - 6 * spread)) & (middle > ordinary)
    clipped = (extreme > saturated) & (np.median(extreme) < 0.5)
    return np.select([constant, clipped, noisy], ["of one value", "saturated", "noise"], default="")


def neighbour_correlation(images: Array) -> Array:
    """The mean correlation `(N,)` of each image with itself moved down and right by a pixel; 0 where it is constant."""
    centred = images - images.mean((1, 2), keepdims=True)
    axes = tuple(range(1, centred.ndim))
    with np.errstate(all="ignore"):
        power = (centred**2).mean(axes)
        down = (centred[:, 1:] * centred[:, :-1]).mean(axes)
        right = (centred[:, :, 1:] * centred[:, :, :-1]).mean(axes)
        return np.asarray(np.nan_to_num((down + right) / (2 * power)))
