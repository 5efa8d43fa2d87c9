"""Rows that occur more than once: within train, across splits, and with different labels.

Tables of few distinct values repeat by chance. A copied row is told from a natural repeat by its
surprisal, −Σ log of its values' frequencies: chance repeats common rows, copying repeats any row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from firstfault.check import Judgement, check, judge, passed, skipped
from firstfault.finding import Layer, Status
from firstfault.splits import Split, Splits, to_array

MOST_COLUMNS = 300


def table(X: Any) -> pd.DataFrame | None:
    """Inputs as a frame of at most 300 columns; None for images and other large samples."""
    if isinstance(X, pd.DataFrame):
        return X if X.shape[1] <= MOST_COLUMNS else None
    array = to_array(X)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or array.shape[1] > MOST_COLUMNS:
        return None
    return pd.DataFrame(array, columns=[str(column) for column in range(array.shape[1])])


def row_hashes(X: Any) -> np.ndarray[Any, Any]:
    """A 64-bit hash per sample `(N,)`, equal for equal samples."""
    if isinstance(X, pd.DataFrame):
        plain = X.apply(lambda column: column.astype(str) if column.dtype == object or str(column.dtype) == "category" else column)
        return np.asarray(pd.util.hash_pandas_object(plain, index=False).to_numpy())
    array = np.ascontiguousarray(to_array(X)).reshape(len(X), -1)
    if array.dtype == object:
        return np.asarray(pd.util.hash_pandas_object(pd.Series([str(row) for row in array]), index=False).to_numpy())
    words = pd.util.hash_array(array.ravel()).reshape(array.shape).astype(np.uint64)
    weights = np.random.default_rng(0).integers(1, 2**63, size=array.shape[1], dtype=np.uint64) | np.uint64(1)
    with np.errstate(over="ignore"):
        return np.asarray((words * weights).sum(1))


def empty_rows(X: Any) -> np.ndarray[Any, Any]:
    """Which rows `(N,)` hold no value at all: they are alike, but no copies."""
    if isinstance(X, pd.DataFrame):
        return np.asarray(X.isna().all(axis=1).to_numpy())
    array = to_array(X).reshape(len(X), -1)
    return np.asarray(np.isnan(array).all(1)) if array.dtype.kind == "f" else np.zeros(len(array), bool)


def surprisal(X: Any, hashes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any] | None:
    """−Σ log frequency of a row's values among the distinct rows `(N,)`; None for images, which don't repeat by chance.

    Args:
        X: the rows.
        hashes: `row_hashes(X)`.
    """
    frame = table(X)
    if frame is None:
        return None
    total, distinct = np.zeros(len(frame)), ~pd.Series(hashes).duplicated().to_numpy()
    for column in frame.columns:
        codes, _ = pd.factorize(frame[column].astype(str) if frame[column].dtype == object else frame[column])
        share = np.bincount(codes[distinct] + 1, minlength=codes.max() + 2) / distinct.sum()
        total -= np.log(share[codes + 1])
    return total


def copied_share(repeated: np.ndarray[Any, Any], rarity: np.ndarray[Any, Any] | None) -> float:
    """The share of rows that are copies rather than chance repeats.

    Args:
        repeated: whether each row is repeated `(N,)`.
        rarity: its surprisal `(N,)`, or None when every repeat is a copy.
    """
    share = float(repeated.mean())
    if rarity is None or share == 0:
        return share
    middle = float(np.median(rarity))
    rare = float((repeated & (rarity >= middle)).mean())
    return min(share, 2 * rare)


def _train_rows(subject: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any] | None]:
    """Hashes and surprisal of the raw training rows, `(N,)` each; computed once per subject."""
    if "train_rows" not in subject.built:
        X = subject.raw.train.X
        hashes = row_hashes(X)
        subject.built["train_rows"] = hashes, surprisal(X, hashes)
    return subject.built["train_rows"]  # type: ignore[no-any-return]


def _dtype_is_discrete_label(y: Any) -> bool:
    return to_array(y).dtype.kind in "OUSbiu" or len(np.unique(to_array(y))) <= 50


@check(layer=Layer.DATA, needs={"raw"}, detects={"duplicate_rows": 0.9})
def duplicate_rows(subject: Any, *, share: float = 0.05) -> Iterator[Judgement]:
    """Find training rows that are copies of others; `value` is the share of copies, without chance repeats.

    Sentences repeat by nature, so that for a language model it is a warning.

    Source: our planted faults and UCI Adult, whose natural repeats (10 %) are common rows.
    """
    train = subject.raw.train
    rows, rarity = _train_rows(subject)
    hashes = rows ^ pd.util.hash_array(to_array(train.y).reshape(len(train.y), -1)[:, 0].astype(str).astype(object))
    repeated = pd.Series(hashes).duplicated().to_numpy() & ~empty_rows(train.X)
    value = copied_share(repeated, rarity)
    yield judge(
        value, above=share, otherwise=Status.WARN if subject.target.task == "language_model" else Status.FAIL,
        where="train", message=f"{int(repeated.sum())} of {len(repeated)} training rows are repeats, {value:.1%} copies",
        fix="drop the copies before splitting",
    )


def _given(subject: Any) -> list[str]:
    """The splits that the user made; those that firstfault drew at random share rows only where the source repeats them."""
    return ["validation", "test"] if subject.target.prepare is not None else list(subject.target.data.declared_splits)


@check(layer=Layer.DATA, needs={"raw"}, detects={"split_overlap": 0.95})
def split_overlap(subject: Any, *, share: float = 0.01) -> Iterator[Judgement]:
    """Find rows of train in the validation and test splits that the user made, or that `prepare` returns.

    `value` is the share of copied rows of the worst split, without chance repeats.

    Source: Kapoor & Narayanan 2023; Barz & Denzler 2020 (overlap in CIFAR is 3–10 %).
    """
    names = _given(subject)
    if not names:
        yield skipped("firstfault drew the splits itself")
        return
    splits = _splits(subject)
    if splits is None:
        yield skipped("the prepared splits could not be made")
        return
    known = set(row_hashes(splits.train.X).tolist())
    worst: tuple[float, str, int] = (0.0, names[0], 0)
    for name in names:
        split = dict(splits.items())[name]
        hashes = row_hashes(split.X)
        repeated = np.fromiter((value in known for value in hashes.tolist()), bool) & ~empty_rows(split.X)
        worst = max(worst, (copied_share(repeated, surprisal(split.X, hashes)), name, int(repeated.sum())))
    value, name, count = worst
    yield judge(
        value, above=share, where=name, message=f"{count} rows of {name} are also in train, {value:.1%} of it copied",
        fix="deduplicate before splitting, and oversample after",
    )


def _splits(subject: Any) -> Splits | None:
    if subject.target.prepare is None:
        return subject.raw  # type: ignore[no-any-return]
    try:
        return subject.prepared  # type: ignore[no-any-return]
    except Exception:
        return None


@check(layer=Layer.DATA, needs={"raw"}, detects={"conflicting_labels": 0.9})
def conflicting_labels(subject: Any, *, share: float = 0.03) -> Iterator[Judgement]:
    """Find equal inputs with different labels; `value` is the share of training rows in conflict, without chance repeats.

    Source: our planted faults; in UCI Adult common rows conflict by nature.
    """
    train: Split = subject.raw.train
    y = to_array(train.y)
    if y.ndim != 1 or not _dtype_is_discrete_label(y):
        yield skipped("conflicts need one class label per row")
        return
    rows, rarity = _train_rows(subject)
    frame = pd.DataFrame({"row": rows, "label": pd.factorize(pd.Series(y))[0]})
    in_conflict = frame.groupby("row")["label"].transform("nunique").to_numpy() > 1
    in_conflict &= ~empty_rows(train.X)
    value = copied_share(in_conflict, rarity)
    yield judge(
        value, above=share, where="train labels", message=f"{int(in_conflict.sum())} training rows share their inputs with a row of another label",
        fix="decide one label per input",
    )


@check(layer=Layer.DATA, needs={"raw"}, detects={"group_overlap": 0.95})
def group_overlap(subject: Any, *, share: float = 0.0) -> Iterator[Judgement]:
    """Find groups (patients, users, sources) on both sides of a split; `value` is the share of rows concerned.

    Source: Kapoor & Narayanan 2023, leakage by dependent samples.
    """
    group = subject.target.data.group
    if group is None or not isinstance(subject.raw.train.X, pd.DataFrame):
        yield skipped("the target declares no data.group")
        return
    known = set(subject.raw.train.X[group].tolist())
    shares = {name: float(split.X[group].isin(known).mean()) for name, split in subject.raw.items() if name != "train"}
    worst = max(shares, key=lambda name: shares[name])
    yield judge(
        shares[worst], above=share, where=f"{group} in {worst}", message=f"{shares[worst]:.0%} of {worst} belong to groups that are in train",
        fix=f"split by {group}",
    )


@check(layer=Layer.DATA, needs={"raw"}, detects={"missing_values": 0.92})
def missing_values(subject: Any) -> Iterator[Judgement]:
    """Find missing values, and whether they reach the model; `value` is the missing share of the training cells.

    Missing values that the preprocessing imputes are a warning; those that arrive in the model's inputs, or missing labels, a fault.

    Source: FAULTS of this project: non-finite before the model.
    """
    train = subject.raw.train
    frame = train.X if isinstance(train.X, pd.DataFrame) else table(train.X)
    y_missing = int(pd.isna(to_array(train.y)).sum())
    if y_missing:
        yield Judgement(Status.FAIL, f"{y_missing} of {len(train.y)} training labels are missing", value=y_missing, threshold=0,
                        where="train labels", fix="drop rows without a label")
        return
    missing = frame.isna().mean() if frame is not None else pd.Series({"inputs": _nan_share(train.X)})
    columns = [str(name) for name in missing[missing > 0].index]
    if not columns:
        yield passed("no training cell is missing")
        return
    value = float(missing.mean())
    text = f"{value:.1%} of the training cells are missing, in {len(columns)} columns"
    arrives = _reaches_model(subject)
    yield Judgement(
        Status.FAIL if arrives else Status.WARN, text + (f", and {arrives} reach the model" if arrives else ", and none reaches the model"),
        value=value, threshold=0, where=", ".join(columns[:5]), fix="impute them, or drop the rows or columns",
    )


def _nan_share(X: Any) -> float:
    array = to_array(X)
    return float(np.isnan(array).mean()) if array.dtype.kind == "f" else 0.0


def _reaches_model(subject: Any) -> int:
    from firstfault.stages import numbers

    try:
        prepared = subject.prepared.train.X
    except Exception:
        return 0
    return int(np.isnan(numbers(prepared)).sum())
