"""Rows whose order tells something: neighbours in the file are alike, or labels come in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from firstfault.check import Depth, Judgement, check, passed, skipped
from firstfault.checks.data._classes import is_cut_off, lacking
from firstfault.checks.data._out_of_fold import indicators
from firstfault.data.splits import Split, read_split, take, to_array
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.subject import Subject

Array = np.ndarray[Any, Any]

FEWEST_ROWS = 100  # ten times the neighbours of a row
MOST_ROWS = 1_500  # bounds the time of the search for neighbours
MOST_PAIRS = 20_000  # the agreement of so many pairs errs by 0.4 %
NEIGHBOURS = 10  # as many as cleanlab's non-iid test takes
SHUFFLES = 20  # the deviation of so many is known to 16 %
PROJECTED = 32  # directions that keep distances to about an eighth, and bound the search
MOST_BYTES = 20_000_000  # a file that is read again in about a second
STRETCHES, STRETCH = 40, 500  # 20,000 rows that are neighbours in the file, from all over it


class Ordered(NamedTuple):
    """An effect (0 for shuffled rows, 1 at most) and by how many deviations it exceeds that of shuffled rows."""

    effect: float
    deviations: float


@check(layer=Layer.DATA, needs={"raw"}, detects={"degenerate_split": 0.9}, depth=Depth.STANDARD)
def rows_in_order(
    subject: Subject, *, effect: float = 0.1, deviations: float = 8.0, chance: float = 1e-6
) -> Iterator[Judgement]:
    """Find training rows whose order in their source tells something.

    Measures: the larger of two effects, 0 (shuffled) to 1 (sorted): how much nearer than chance a row's 10 nearest
        neighbours in space are in the file (of at most 1,500 rows), and how much more often than chance the next row
        has the same label.
    Fails when: the labels come in blocks, and a declared split has one class of train at most, and lacks one that a
        random split would miss by a chance below `chance`: it was cut from sorted rows.
    Warns when: an effect is above `effect`, by more than `deviations` standard deviations of shuffled rows. Such rows
        may not be independent, and a split by position is no random one.
    Not a fault when: `data.time` is declared: the order is meant. Nothing is known of the order where firstfault drew
        the splits from a query, a function or a large file.
    Source: cleanlab's non-iid test (Cummings et al. 2023, Detecting dataset drift and non-IID sampling via k-nearest
        neighbours); benchmarks/localise.py, fault degenerate_split. The effects are a choice of ours;
        tests/checks/data/test_order.py holds wine, breast cancer, diabetes and digits, sorted and shuffled.
    """
    if subject.data.time is not None:
        yield skipped("the target declares data.time: the order is meant")
        return
    train = _as_stored(subject)
    if train is None:
        yield skipped("the rows' order in the source is not known, and firstfault drew the splits at random")
        return
    if len(train.y) < FEWEST_ROWS:
        yield skipped(f"an order takes at least {FEWEST_ROWS} rows to be seen")
        return
    near, labels = neighbours_in_file(train.X), labels_in_blocks(train.y, subject.target.task)
    ordered = [entry for entry in (near, labels) if entry.effect > effect and entry.deviations > deviations]
    value = max(near.effect, labels.effect)
    told = (
        f"order effect {near.effect:.2f} of the inputs and {labels.effect:.2f} of the labels (0: shuffled, 1: sorted)"
    )
    if not ordered:
        yield passed(told, value=value)
        return
    lacking = _lacking(subject, chance) if labels in ordered else None
    if lacking is not None:
        name, count = lacking
        yield Judgement(
            Status.FAIL,
            f"{name} lacks {count} classes of train, and labels come in blocks: it was cut from sorted rows",
            value=count,
            threshold=0,
            where=Place.labels(name),
            fix="shuffle the rows, then split, stratified by label",
        )
        return
    yield Judgement(
        Status.WARN,
        f"the order of the training rows tells something: {told}",
        value=value,
        threshold=effect,
        where=Place.data("train"),
        faults={},
        fix="split by group or time (declare data.group or data.time), and shuffle before any split by position",
    )


def is_sorted(subject: Subject, *, effect: float = 0.5) -> bool:
    """Whether the training labels come in blocks, as rows do that were sorted by them."""
    return labels_in_blocks(subject.raw.train.y, subject.target.task).effect > effect


def _as_stored(subject: Subject) -> Split | None:
    """The training rows in the source's order, or 40 stretches of 500 of them; None where it is not known."""
    data = subject.data
    if len(data.declared_splits) == 2:
        train = subject.raw.train
        return take(train, _stretches(len(train.y))) if len(train.y) > STRETCHES * STRETCH else train
    source = data.train
    if isinstance(source, str | Path):
        path = subject.target.root / Path(source).expanduser()
        if not path.is_file() or path.stat().st_size > MOST_BYTES:
            return None
    elif isinstance(source, pd.DataFrame):
        source = source.iloc[_stretches(len(source))] if len(source) > STRETCHES * STRETCH else source
    elif not isinstance(source, tuple | list):
        return None
    return read_split(data, source, "train", subject.target.root)


def _stretches(count: int) -> Array:
    """The places of 40 evenly spaced stretches of 500 rows that follow each other."""
    starts = np.linspace(0, count - STRETCH, STRETCHES).astype(int)
    return (starts[:, None] + np.arange(STRETCH)).ravel()


def neighbours_in_file(X: Any) -> Ordered:
    """How much nearer than chance the nearest neighbours in space are by position."""
    rows = np.sort(np.random.default_rng(0).permutation(len(X))[:MOST_ROWS])
    inputs = indicators(X, rows)
    if inputs is not None:
        inputs = inputs[:, ~_row_numbers(inputs)]
    if inputs is None or not inputs.any():
        return Ordered(0.0, 0.0)
    near = _nearest(inputs)
    rng = np.random.default_rng(1)
    found = _distance(near, np.arange(len(rows)))
    shuffled = np.array([_distance(near, rng.permutation(len(rows))) for _ in range(SHUFFLES)])
    return Ordered(float(1 - found / shuffled.mean()), float((shuffled.mean() - found) / max(shuffled.std(), 1e-12)))


def _row_numbers(inputs: Array) -> Array:
    """Which columns `(D,)` only rise or only fall from row to row: they number the rows."""
    steps = np.diff(inputs, axis=0)
    return np.asarray((steps > 0).all(0) | (steps < 0).all(0))


def _nearest(inputs: Array) -> Array:
    """The places `(N, 10)` of every row's nearest others; among equally near ones, any."""
    from sklearn.neighbors import NearestNeighbors

    rng = np.random.default_rng(0)
    deviation = inputs.std(0)
    scaled = ((inputs - inputs.mean(0)) / np.where(deviation > 1e-12, deviation, 1.0)).clip(-4, 4)
    if scaled.shape[1] > PROJECTED:
        scaled = scaled @ rng.normal(size=(scaled.shape[1], PROJECTED)) / np.sqrt(PROJECTED)
    order = rng.permutation(len(scaled))  # ties are broken by place: that must not be the file's
    near = NearestNeighbors(n_neighbors=NEIGHBOURS + 1).fit(scaled[order]).kneighbors(scaled, return_distance=False)
    places = order[near]
    own = places == np.arange(len(places))[:, None]
    own[~own.any(1), -1] = True
    return places[~own].reshape(len(places), NEIGHBOURS)


def _distance(near: Array, places: Array) -> float:
    return float(np.abs(places[near] - places[:, None]).mean())


def labels_in_blocks(y: Any, task: str) -> Ordered:
    """How much more alike than chance successive labels are: agreement of classes, correlation of numbers."""
    y = to_array(y)
    if y.ndim != 1 or task not in ("classification", "regression"):
        return Ordered(0.0, 0.0)
    firsts = np.sort(np.random.default_rng(0).permutation(len(y) - 1)[:MOST_PAIRS])
    pairs = pd.Series(np.concatenate([y[firsts], y[firsts + 1]]))
    if pairs.isna().any():
        return Ordered(0.0, 0.0)
    return _agreement(pairs) if task == "classification" else _correlation(pairs)


def _agreement(pairs: pd.Series) -> Ordered:
    codes = pd.factorize(pairs)[0]
    chance = float(((np.bincount(codes) / len(codes)) ** 2).sum())
    if chance > 1 - 1e-9:
        return Ordered(0.0, 0.0)
    count = len(codes) // 2
    excess = float((codes[:count] == codes[count:]).mean()) - chance
    return Ordered(excess / (1 - chance), excess / np.sqrt(chance * (1 - chance)) * np.sqrt(count))


def _correlation(pairs: pd.Series) -> Ordered:
    values = pd.to_numeric(pairs, errors="coerce").to_numpy(dtype=float)
    if not np.isfinite(values).all() or values.std() < 1e-12:
        return Ordered(0.0, 0.0)
    count = len(values) // 2
    alike = float(np.nan_to_num(np.corrcoef(values[:count], values[count:])[0, 1]))
    return Ordered(alike, alike * np.sqrt(count))


def _lacking(subject: Subject, chance: float) -> tuple[str, int] | None:
    """The split of the user's that lacks the most classes which a random one would hardly miss, and how many."""
    lacks = {
        name: len(lacking(subject, getattr(subject.raw, name), chance))
        for name in subject.data.declared_splits
        if is_cut_off(subject, name)
    }
    worst = max(lacks, key=lambda name: lacks[name], default="")
    return (worst, lacks[worst]) if lacks.get(worst) else None
