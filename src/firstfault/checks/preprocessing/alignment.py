"""Do inputs keep their own labels? Marked copies are sent through the preparation with labels of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from firstfault.check import Judgement, check, passed, skipped
from firstfault.data.splits import Split, Splits, to_array
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.rerun import Array, codes_of, flat, labelled, rerun, rows_of, scale_of, score, two_labels
from firstfault.subject.subject import Subject
from firstfault.training.preprocessing import Pipeline
from firstfault.training.stages import missing_cells, numbers

MARKED = 0.4  # of the rows become copies: enough to be found, and no majority
PROTOTYPES = 4  # rows that are copied: one that the preparation drops leaves three
FEWEST_ROWS = 40  # four copies of each prototype
KNOWN = 0.9  # how well labels that follow from the inputs are read of raw rows that can say where they went


class Kept(NamedTuple):
    """How well marked copies kept their labels in one split, 0–1, or None where the copies cannot be found."""

    where: Place
    agreement: float | None


@check(layer=Layer.PREPROCESSING, needs={"pipeline"}, detects={"misaligned_labels": 0.95})
def misaligned_labels(subject: Subject, *, agreement: float = 0.9, readable: float = 0.6) -> Iterator[Judgement]:
    """Find preparation that parts inputs from their labels.

    Measures: the share of marked samples that keep their label, 0–1: 1 when aligned, about 0.4 when not. The
        preparation runs again with 40 % of the rows of every split, drawn at random, replaced by copies of four
        training samples that carry one label; all other rows carry another. After it, the rows with the copies' label
        must still be copies, however hard the real labels are.
    Fails when: the share is below `agreement`. Where no copies are found any more (rows made unique), when a label that
        follows from the inputs can be read off the prepared ones with a balanced accuracy below `readable`; that is
        weaker evidence.
    Not a fault when: the preparation makes labels of its own from the inputs.
    Source: benchmarks/localise.py, fault misaligned_labels. The test is metamorphic, and its bounds are a choice of
        ours; tests/checks/preprocessing/test_alignment.py holds the cases that they separate.
    """
    if subject.target.prepare is None and not subject.pipeline.steps:
        yield passed("no step touches the rows")
        return
    marked = _marked(subject)
    again = rerun(subject, marked) if marked else None
    if marked is None or again is None:
        yield skipped("the labels have no two values, the splits are tiny, or the preparation refuses marked rows")
        return
    found = _kept(again, agreement)
    bad = next((entry for entry in found if entry.agreement is not None and entry.agreement < agreement), None)
    if bad is not None and _labels_ignore_ours(subject, marked, again):
        yield skipped("the preparation makes labels of its own from the inputs")
    elif bad is not None:
        yield _parted(bad, agreement, 0.95)
    elif any(entry.agreement is not None for entry in found):
        yield passed("inputs keep their own labels through the preparation", value=1.0)
    else:
        yield from _by_reading(subject, readable)


def _parted(bad: Kept, threshold: float, weight: float) -> Judgement:
    return Judgement(
        Status.FAIL,
        f"only {bad.agreement:.0%} of marked samples still carry their own label after {bad.where}",
        value=bad.agreement,
        threshold=threshold,
        where=bad.where,
        faults={"misaligned_labels": weight},
        fix="shuffle, filter and sort inputs and labels together",
    )


def _marked(subject: Subject) -> Splits | None:
    raw = subject.raw
    pair = two_labels(subject.target.task, raw.train.y)
    if pair is None or len(raw.train.y) < FEWEST_ROWS:
        return None
    rng = np.random.default_rng(0)
    prototypes = rows_of(raw.train.X, rng.permutation(_complete(raw.train.X))[:PROTOTYPES])
    return Splits(*(_with_copies(split, prototypes, pair, rng) for _, split in raw.items()))


def _complete(X: Any) -> Array:
    if missing_cells(X) == 0:
        return np.arange(len(X))
    if isinstance(X, pd.DataFrame):
        whole: Any = ~X.isna().any(axis=1).to_numpy()
    else:
        whole = ~pd.isna(to_array(X)).reshape(len(X), -1).any(1)
    return np.flatnonzero(whole) if whole.sum() >= PROTOTYPES else np.arange(len(X))


def _with_copies(split: Split, prototypes: Any, pair: tuple[Any, Any], rng: np.random.Generator) -> Split:
    n = len(split.y)
    marks = rng.random(n) < MARKED
    rows = np.where(marks, n + rng.integers(len(prototypes), size=n), np.arange(n))
    return labelled(Split(rows_of(split.X, rows, extra=prototypes), split.y), *pair, where=marks)


def _kept(pipeline: Pipeline, agreement: float) -> list[Kept]:
    """For every split, the first stage that parts marked rows from their label, or the last stage."""
    found = []
    for name in ("train", "validation", "test"):
        for stage in pipeline.stages[1:]:
            split = dict(stage.splits.items())[name]
            kept = Kept(Place.stage(stage.name, name), _agreement(split))
            if kept.agreement is not None and kept.agreement < agreement:
                break
        else:
            kept = Kept(Place.stage(pipeline.stages[-1].name, name), _agreement(dict(pipeline.prepared.items())[name]))
        found.append(kept)
    return found


def _agreement(split: Split) -> float | None:
    """The share of the rows with the copies' label that are copies; None where there are no copies to be seen."""
    keys, codes = _row_keys(split.X), codes_of(split.y)
    if keys is None or len(keys) != len(codes) or len(codes) < FEWEST_ROWS or len(np.unique(codes)) != 2:
        return None
    counts, most = np.bincount(keys), min(32, max(2 * PROTOTYPES, len(keys) // 20))
    top = np.argsort(counts)[::-1][:most]
    top = top[counts[top] >= 3]
    if not 0.2 <= np.isin(keys, top).mean() <= 0.85:
        return None
    purity = np.mean([abs(2 * np.mean(codes[keys == key]) - 1) for key in top])
    return float(max(purity, _concentration(keys[codes == 0], most), _concentration(keys[codes == 1], most)))


def _concentration(keys: Array, most: int) -> float:
    """The share of rows that are in one of the `most` largest groups of equal rows."""
    return float(np.sort(np.bincount(keys))[::-1][:most].sum() / len(keys))


def _row_keys(X: Any) -> Array | None:
    """Numbers `(N,)`, equal for equal rows."""
    values = flat(X)
    if not values.size:
        return None
    values = np.nan_to_num(values / scale_of(values), nan=-7.0, posinf=0.0, neginf=0.0)
    shadow = values @ np.random.default_rng(0).normal(size=values.shape[1])
    return np.asarray(pd.factorize(np.round(shadow, 5))[0])


def _labels_ignore_ours(subject: Subject, marked: Splits, again: Pipeline) -> bool:
    """Whether prepared labels stay the same when ours are dealt out anew."""
    rng = np.random.default_rng(1)
    dealt = rerun(
        subject, Splits(*(Split(split.X, split.y[rng.permutation(len(split.y))]) for _, split in marked.items()))
    )
    if dealt is None:
        return False
    first, second = again.prepared.train.y, dealt.prepared.train.y
    return len(first) == len(second) and bool((codes_of(first) == codes_of(second)).all())


def _by_reading(subject: Subject, readable: float) -> Iterator[Judgement]:
    """The weaker test: labels that say which half of the rows by `score` a row is in must be readable afterwards."""
    pair, raw = two_labels(subject.target.task, subject.raw.train.y), subject.raw
    bound = np.median(score(raw.train.X))
    made_up = (
        Splits(*(labelled(split, *pair, where=score(split.X) > bound) for _, split in raw.items())) if pair else None
    )
    again = rerun(subject, made_up) if made_up else None
    if made_up is None or again is None or (_readable(made_up.train) or 0.0) < KNOWN:
        yield skipped("marked rows cannot be followed through the preparation")
        return
    for name, split in again.prepared.items():
        keys = _row_keys(split.X)
        value = _readable(split) if keys is not None and len(np.unique(keys)) > len(keys) / 2 else None
        if value is not None and value < readable:
            yield _parted(Kept(Place.stage(again.stages[-1].name, name), value), readable, 0.7)
            return
    yield passed("labels that follow from the inputs can still be read off the prepared inputs")


def _readable(split: Split) -> float | None:
    """Balanced accuracy on half of the rows of the better of a tree and a linear model, fitted on the other half."""
    from sklearn.linear_model import RidgeClassifier
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.tree import DecisionTreeClassifier

    X, y = flat(split.X)[:4000], codes_of(split.y)[:4000]
    if len(X) != len(y) or len(X) < FEWEST_ROWS or not numbers(split.X).size or len(np.unique(y)) != 2:
        return None
    X = np.nan_to_num(np.nan_to_num(X, posinf=0.0, neginf=0.0) / scale_of(X))
    order = np.random.default_rng(0).permutation(len(X))
    fit, held = order[::2], order[1::2]
    if min(len(np.unique(y[fit])), len(np.unique(y[held]))) < 2:
        return None
    models = (DecisionTreeClassifier(max_depth=6, random_state=0), RidgeClassifier())
    return max(float(balanced_accuracy_score(y[held], model.fit(X[fit], y[fit]).predict(X[held]))) for model in models)
