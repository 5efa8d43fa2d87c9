"""Is the end of long sequences cut off, and with it what the label depends on?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from firstfault.check import Depth, Judgement, check, passed, skipped
from firstfault.checks.preprocessing._sequences import Sequences, sequences_of
from firstfault.data.splits import Split, Splits, take, to_array
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.rerun import Array, fixed_seeds, flat, rerun, rows_change_split
from firstfault.subject.subject import Subject

MOST_ROWS = 1_000  # bounds the time: they are prepared some fifteen times
FEWEST_ROWS = 40  # ten to answer in each fold of the simple model
HALVINGS = 12  # find the place in sequences of up to 4,096 units
FEWEST_UNITS = 4  # shorter ends are punctuation
WORDS = 2**12  # places of hashed words: bounds the fit
NEIGHBOURS = 7  # the row, beside the next one, whose words stand in for an end


@check(layer=Layer.PREPROCESSING, needs={"pipeline"}, detects={"truncation": 0.92}, depth=Depth.STANDARD)
def truncation(subject: Subject, *, share: float = 0.05, gain: float = 0.1, varied: float = 0.3) -> Iterator[Judgement]:
    """Find sequences whose end is cut off by the preparation although the label depends on it.

    Measures: the share of sequences with an end that has no influence on the prepared row: neither leaving it out nor
        writing another row's words there changes anything. At most 1,000 training rows of texts, lists of tokens or
        padded token ids are looked at.
    Fails when: the share is above `share`, a bag-of-words model predicts the label of these rows better with what was
        cut than from what was left, by more than `gain` and two standard errors, and the trained network is worse than
        that model.
    Warns when: the share is above `share`, and the label does not depend on the rest, or that is not known.
    Not a fault when: the places of the cut vary by more than `varied` of their mean: words without influence may stand
        anywhere.
    Source: a choice of ours; tests/checks/preprocessing/test_truncation.py holds the cases that it separates.
    """
    rows = _sample(subject)
    sequences = sequences_of(subject, rows.X) if rows is not None else None
    if rows is None or sequences is None:
        yield skipped("the raw inputs are no texts, lists or token ids")
        return
    prepared = _preparation(subject, rows)
    kept = _kept(sequences, prepared) if prepared else None
    if kept is None:
        yield skipped("the preparation refuses changed rows, drops rows, or differs from run to run")
        return
    lengths = np.array([len(units) for units in sequences.units])
    cut = kept < lengths
    value = float(cut.mean())
    where = str(subject.pipeline.stages[-1].name)
    if value <= share:
        yield passed(f"the end of {value:.0%} of the sequences has no influence", value=value)
        return
    if kept[cut].std() > varied * max(kept[cut].mean(), 1.0) or np.median(kept[cut]) < 1:
        yield passed(
            "ends without influence begin anywhere: they hold nothing that the preparation looks for", value=value
        )
        return
    step = _cutting_step(subject, sequences, kept, cut) or where
    what = (
        f"{value:.0%} of the sequences are cut, "
        f"at a median of {np.median(kept[cut]):.0f} of {np.median(lengths[cut]):.0f} units"
    )
    scores = _scores(subject, [sequences.units[row] for row in np.flatnonzero(cut)], kept[cut], to_array(rows.y)[cut])
    if scores is None:
        yield Judgement(
            Status.WARN,
            f"{what}; whether the label depends on the rest is not known",
            value=value,
            threshold=share,
            where=Place.stage(step),
            faults={"truncation": 0.3},
            fix="raise the length",
        )
        return
    left, lost, error = scores
    bad = lost - left > max(gain, 2 * error) and not _network_copes(subject, lost)
    yield Judgement(
        Status.FAIL if bad else Status.WARN,
        f"{what}; a simple model scores {lost:.2f} with the rest and {left:.2f} without it",
        value=value,
        threshold=share,
        where=Place.stage(step),
        fix="raise the length, or keep the end",
        faults={"truncation": 0.92 if bad else 0.3},
    )


def _sample(subject: Subject) -> Split | None:
    train = subject.raw.train
    if len(train.y) < FEWEST_ROWS or len(train.X) != len(train.y):
        return None
    return take(train, np.sort(np.random.default_rng(0).permutation(len(train.y))[:MOST_ROWS]))


def _preparation(subject: Subject, rows: Split) -> Callable[[Any], Array | None] | None:
    """A function that prepares changed inputs of the sampled rows, with everything fitted as before."""
    if subject.target.prepare is None:
        return lambda X: _applied(subject, X)
    if rows_change_split(subject):
        return None
    return lambda X: _rerun(subject, rows, X)


def _applied(subject: Subject, X: Any) -> Array | None:
    try:
        with fixed_seeds():
            return prepared_values(subject.pipeline.apply(X))
    except Exception:
        return None


def _rerun(subject: Subject, rows: Split, X: Any) -> Array | None:
    again = rerun(
        subject, Splits(rows, Split(X, rows.y), take(subject.raw.test, np.arange(min(len(subject.raw.test.y), 100))))
    )
    return prepared_values(again.prepared.validation.X) if again is not None else None


def prepared_values(X: Any) -> Array:
    """Prepared inputs `(N, D)`; lists of tokens by a number for each."""
    array = X if hasattr(X, "toarray") or isinstance(X, pd.DataFrame) else to_array(X)
    if isinstance(array, np.ndarray) and array.dtype == object and array.ndim == 1 and len(array):
        return np.asarray(
            pd.factorize(pd.Series([str(list(row)) if not isinstance(row, str) else row for row in array]))[0][:, None]
        )
    return flat(X.toarray() if hasattr(X, "toarray") else X)


def _kept(sequences: Sequences, prepared: Callable[[Any], Array | None]) -> Array | None:
    """How many units `(N,)` of each row, from its start, have an influence; None where that can't be told."""
    units = sequences.units
    lengths = np.array([len(row) for row in units])
    whole, again = prepared(sequences.of(units)), prepared(sequences.of(units))
    if (
        whole is None
        or again is None
        or len(whole) != len(units)
        or not np.array_equal(whole, again, equal_nan=True)
        or not whole.size
    ):
        return None
    starts = [row[: max(1, len(row) // 2)] for row in units]
    unread = _ends_without_influence(
        sequences, prepared, np.maximum(lengths - np.maximum(lengths // 10, 1), 0), starts, whole
    )
    if unread is None:
        return None
    low, high = np.zeros(len(units), int), np.where(unread, lengths, 0)
    for _ in range(HALVINGS if unread.any() else 0):
        if (low >= high).all():
            break
        middle = (low + high) // 2
        shorter = prepared(
            sequences.of([row[:count] if flag else row for row, count, flag in zip(units, middle, unread, strict=True)])
        )
        if shorter is None or shorter.shape != whole.shape:
            return None
        same = _same(whole, shorter)
        high, low = np.where(same, middle, high), np.where(same, low, np.minimum(middle + 1, high))
    kept = np.where(unread, high, lengths)
    sure = _ends_without_influence(sequences, prepared, kept, starts, whole)
    if sure is None:
        return None
    return np.where(sure & (lengths - kept >= np.maximum(FEWEST_UNITS, lengths // 10)), kept, lengths)


def _ends_without_influence(
    sequences: Sequences, prepared: Callable[[Any], Array | None], kept: Array, starts: list[Any], whole: Array
) -> Array | None:
    """Which rows `(N,)` stay as they are with the starts of other rows in place of their own ends."""
    same = np.ones(len(kept), bool)
    for shift in (1, NEIGHBOURS):
        changed = [
            row[:count] + _filled(starts[(index + shift) % len(starts)], len(row) - count)
            for index, (row, count) in enumerate(zip(sequences.units, kept, strict=True))
        ]
        result = prepared(sequences.of(changed))
        if result is None or result.shape != whole.shape:
            return None
        same &= _same(whole, result)
    return np.asarray(same & (kept < np.array([len(row) for row in sequences.units])))


def _filled(units: Any, count: int) -> Any:
    return (units * (count // max(1, len(units)) + 1))[:count]


def _same(a: Array, b: Array) -> Array:
    return np.asarray(((a == b) | (np.isnan(a) & np.isnan(b))).all(1))


def _cutting_step(subject: Subject, sequences: Sequences, kept: Array, cut: Array) -> str | None:
    """The first step after which what was cut has no influence."""
    shortened = sequences.of(
        [row[:count] if flag else row for row, count, flag in zip(sequences.units, kept, cut, strict=True)]
    )
    whole = sequences.of(sequences.units)
    try:
        for name, step in subject.pipeline.steps:
            whole, shortened = step(whole), step(shortened)
            first, second = prepared_values(whole), prepared_values(shortened)
            if first.shape == second.shape and _same(first, second)[cut].all():
                return str(name)
    except Exception:
        return None
    return None


def _scores(subject: Subject, units: list[Any], kept: Array, y: Any) -> tuple[float, float, float] | None:
    """The scores of a bag-of-words model without and with what was cut, and their standard error; None for no fit."""
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.model_selection import cross_val_score

    if (
        subject.target.task not in ("classification", "regression")
        or y.ndim != 1
        or len(y) < FEWEST_ROWS
        or pd.isna(y).any()
    ):
        return None
    classes = subject.target.task == "classification"
    codes = pd.factorize(pd.Series(y))[0] if classes else y.astype(float)
    if classes and (len(np.unique(codes)) < 2 or np.bincount(codes).min() < 4):
        return None
    model = LogisticRegression(max_iter=200) if classes else Ridge(10.0)
    parts = (
        [row[:count] for row, count in zip(units, kept, strict=True)],
        [row[count:] for row, count in zip(units, kept, strict=True)],
        units,
    )
    left, lost, whole = (
        float(np.mean(cross_val_score(model, _bag(part), codes, cv=4, scoring="accuracy" if classes else "r2")))
        for part in parts
    )
    share = min(max(left, 0.05), 0.95)
    return left, max(lost, whole), float(np.sqrt(share * (1 - share) / len(y)))


def _bag(rows: list[Any]) -> Any:
    from sklearn.feature_extraction.text import HashingVectorizer

    texts = [" ".join(str(unit) for unit in row) for row in rows]
    return HashingVectorizer(n_features=WORDS, alternate_sign=False, token_pattern=r"\S+").transform(texts)


def _network_copes(subject: Subject, score: float) -> bool:
    """Whether the trained network is as good, on all rows, as the simple model is with what was cut."""
    try:
        trained = subject.trained
    except Exception:
        return False
    return bool(trained.crash is None and trained.metric in ("accuracy", "r2") and trained.score >= score - 0.02)
