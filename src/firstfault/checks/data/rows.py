"""Rows that occur more than once: within the source, across splits, and with different labels; and missing values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from firstfault.check import Judgement, check, judge, passed, skipped
from firstfault.checks.data.hashing import Scan, among, scan, scans, with_labels
from firstfault.checks.data.repeats import agreement, by_chance, copied_share, default_rows, repeats
from firstfault.finding import Layer, Status
from firstfault.frames import table
from firstfault.splits import Split, Splits, to_array
from firstfault.subject import Subject

__all__ = ["conflicting_labels", "duplicate_rows", "group_overlap", "missing_values", "split_overlap"]

Array = np.ndarray[Any, Any]

MOST_LISTED = 100
LOOKED_AT = 200


class _Part(NamedTuple):
    """A split by its name, with its scan."""

    name: str
    split: Split
    rows: Scan


def _dtype_is_discrete_label(y: Any) -> bool:
    return to_array(y).dtype.kind in "OUSbiu" or len(np.unique(to_array(y))) <= 50


@check(layer=Layer.DATA, needs={"raw"}, detects={"duplicate_rows": 0.9})
def duplicate_rows(subject: Subject, *, share: float = 0.05, certain: float = 0.01) -> Iterator[Judgement]:
    """Find rows of the training source that are copies of others, label and all; `value` is the share of copies.

    The splits that firstfault drew belong to the source. Where chance explains next to no repeat (a column, or half of
    the columns, that two different rows never share), every repeat is a copy, and more than `certain` of the rows a
    fault; where rows do repeat by chance, copies are told by their rarity, and more than `share` a fault. Sentences repeat by
    nature, so that for a language model it is a warning.

    Source: our planted faults; UCI Adult, whose natural repeats (10 %) are common rows; iris and digits (1–2 repeats).
    """
    parts = _source(subject)
    hashes = np.concatenate([with_labels(part.rows, part.split) for part in parts])
    repeated = repeats(hashes) & ~np.concatenate([part.rows.empty for part in parts])
    count, total = int(repeated.sum()), len(hashes)
    if not count:
        yield passed(f"none of the {total} rows is a repeat", value=0.0, where="train")
        return
    bounded = repeated & ~default_rows(hashes, repeated)
    chance = bounded.mean() > certain and by_chance(int(bounded.sum()), total**2 / 2, agreement(subject))
    value = copied_share([part.split.X for part in parts], hashes, bounded) if chance else float(bounded.mean())
    bound = share if chance else certain
    yield judge(
        value, above=bound, otherwise=Status.WARN if subject.target.task == "language_model" else Status.FAIL,
        where="train",
        message=f"{count} of the {total} rows are repeats"
        + (f", {value:.1%} copies" if chance else ": too many for chance" if value > certain else ""),
        fix="drop the copies before splitting",
        artifacts=_listed(subject, parts, hashes, repeated) if value > bound else (),
    )


def _source(subject: Subject) -> list[_Part]:
    """The splits that were declared as one source, train last."""
    declared, rows = subject.data.declared_splits, scans(subject)
    return [_Part(name, split, rows[name]) for name, split in reversed(subject.raw.items()) if name not in declared]


def _listed(subject: Subject, parts: Sequence[_Part], hashes: Array, repeated: Array) -> tuple[str, ...]:
    """Write the first pairs of equal rows to `duplicate_rows.csv`."""
    later = np.flatnonzero(repeated)[-MOST_LISTED:]                     # train comes last, and is what the user looks at
    return _write_pairs(subject, "duplicate_rows.csv", parts, later, _first_of(hashes, hashes[later]))


def _first_of(hashes: Array, wanted: Array) -> Array:
    """Where each of a few hashes occurs first."""
    places = np.flatnonzero(among(hashes, np.sort(wanted)))
    first = pd.Series(places, index=hashes[places]).groupby(level=0).first()
    return np.asarray(first.loc[wanted].to_numpy())


def _write_pairs(subject: Subject, name: str, parts: Sequence[_Part], later: Array, first: Array) -> tuple[str, ...]:
    """One line per pair: where the row is, where its equal is, and its values, personal ones masked."""
    ends = np.cumsum([len(part.rows.hashes) for part in parts])
    pairs = {}
    for heading, places in (("", later), ("equal_", first)):
        of = np.searchsorted(ends, places, side="right")
        pairs[f"{heading}split"] = [parts[part].name for part in of]
        pairs[f"{heading}row"] = [
            int(place - (ends[part - 1] if part else 0)) for place, part in zip(places, of, strict=True)
        ]
    lines = pd.DataFrame(pairs)
    frames = [table(part.split.X) for part in parts]
    if all(frame is not None for frame in frames):
        shown = [frames[part_of].iloc[[row]] for part_of, row in _places(lines, parts)]     # type: ignore[union-attr]
        lines = pd.concat([lines, _masked(pd.concat(shown), frames[-1]).reset_index(drop=True)], axis=1)
    lines.to_csv(subject.folder / name, index=False)
    return (name,)


def _places(lines: pd.DataFrame, parts: Sequence[_Part]) -> list[tuple[int, int]]:
    names = [part.name for part in parts]
    return [(names.index(split), row) for split, row in zip(lines["split"], lines["row"], strict=True)]


def _masked(rows: pd.DataFrame, frame: Any) -> pd.DataFrame:
    """Rows of a frame with personal values masked; what is personal shows in more rows than a few."""
    from firstfault.privacy import masked

    return masked(pd.concat([rows, frame.iloc[:LOOKED_AT]], ignore_index=True)).iloc[: len(rows)]


def _given(subject: Subject) -> list[str]:
    """The splits that the user made; those that firstfault drew at random share rows only where the source repeats them."""
    return ["validation", "test"] if subject.target.prepare is not None else list(subject.data.declared_splits)


@check(layer=Layer.DATA, needs={"raw"}, detects={"split_overlap": 0.95})
def split_overlap(subject: Subject, *, share: float = 0.01, certain: float = 0.003) -> Iterator[Judgement]:
    """Find rows of train in the validation and test splits that the user made, or that `prepare` returns.

    `value` is the share of copied rows of the worst split. Where chance explains next to no equal rows, every one of them
    is a copy, and more than `certain` of a split a fault; else copies are told by their rarity, and more than `share` is one.

    Source: Kapoor & Narayanan 2023; Barz & Denzler 2020 (overlap in CIFAR is 3–10 %).
    """
    names = _given(subject)
    if not names:
        yield skipped("firstfault drew the splits itself")
        return
    parts = _parts(subject)
    if parts is None:
        yield skipped("the prepared splits could not be made")
        return
    source = [part for name, part in parts.items() if name not in names]
    known = np.sort(np.concatenate([part.rows.hashes for part in source]))
    found = {name: among(parts[name].rows.hashes, known) & ~parts[name].rows.empty for name in names}
    judged = {name: _overlap(subject, source, parts[name], found[name], certain) for name in names}
    name = max(names, key=lambda name: judged[name][0] / (share if judged[name][1] else certain))
    value, chance = judged[name]
    bound = share if chance else certain
    count, total = int(found[name].sum()), len(found[name])
    yield judge(
        value, above=bound, where=name, fix="deduplicate before splitting, and oversample after",
        message=f"{count} of the {total} rows of {name} are also in train"
        + (f", {value:.1%} of it copied" if chance else ""),
        artifacts=_listed_across(subject, source, parts[name], found[name]) if value > bound else (),
    )


def _parts(subject: Subject) -> dict[str, _Part] | None:
    if subject.target.prepare is None:
        rows = scans(subject)
        return {name: _Part(name, split, rows[name]) for name, split in subject.raw.items()}
    try:
        prepared: Splits = subject.prepared
    except Exception:
        return None
    return {name: _Part(name, split, scan(split.X)) for name, split in prepared.items()}


def _overlap(subject: Subject, source: list[_Part], part: _Part, found: Array, certain: float) -> tuple[float, bool]:
    """The share of a split that is copied from its source, and whether some of it may be chance."""
    if not found.any():
        return 0.0, True
    known = np.concatenate([other.rows.hashes for other in source])
    bounded = found & ~default_rows(part.rows.hashes, found)
    if bounded.mean() <= certain:
        return float(bounded.mean()), False
    if (
        subject.target.prepare is None
        and not by_chance(int(bounded.sum()), len(known) * len(found), agreement(subject))
    ):
        return float(bounded.mean()), False
    repeated = np.concatenate([np.full(len(known), np.nan), bounded])
    return copied_share(
        [*(other.split.X for other in source), part.split.X], np.concatenate([known, part.rows.hashes]), repeated
    ), True


def _listed_across(subject: Subject, source: list[_Part], part: _Part, found: Array) -> tuple[str, ...]:
    """Write the first rows of a split that are in train to `split_overlap.csv`."""
    rows = np.flatnonzero(found)[:MOST_LISTED]
    hashes = np.concatenate([known.rows.hashes for known in source])
    return _write_pairs(
        subject, "split_overlap.csv", [*source, part], rows + len(hashes), _first_of(hashes, part.rows.hashes[rows])
    )


@check(layer=Layer.DATA, needs={"raw"}, detects={"conflicting_labels": 0.9})
def conflicting_labels(subject: Subject, *, share: float = 0.03) -> Iterator[Judgement]:
    """Find equal inputs with different labels; `value` is the share of training rows in conflict, without chance repeats.

    Source: our planted faults; in UCI Adult common rows conflict by nature.
    """
    train: Split = subject.raw.train
    y = to_array(train.y)
    if y.ndim != 1 or not _dtype_is_discrete_label(y):
        yield skipped("conflicts need one class label per row")
        return
    rows = scans(subject)["train"]
    repeated = pd.Series(rows.hashes).duplicated(keep=False).to_numpy() & ~rows.empty
    in_conflict = np.zeros(len(y), bool)
    if repeated.any():
        frame = pd.DataFrame({"row": rows.hashes[repeated], "label": pd.factorize(pd.Series(y[repeated]))[0]})
        in_conflict[repeated] = frame.groupby("row")["label"].transform("nunique").to_numpy() > 1
    value = copied_share([train.X], rows.hashes, in_conflict & ~default_rows(rows.hashes, in_conflict))
    yield judge(
        value, above=share, where="train labels",
        message=f"{int(in_conflict.sum())} training rows share their inputs with a row of another label",
        fix="decide one label per input",
    )


@check(layer=Layer.DATA, needs={"raw"}, detects={"group_overlap": 0.95})
def group_overlap(subject: Subject, *, share: float = 0.0) -> Iterator[Judgement]:
    """Find groups (patients, users, sources) on both sides of a split; `value` is the share of rows concerned.

    Source: Kapoor & Narayanan 2023, leakage by dependent samples.
    """
    group = subject.data.group
    if group is None or not isinstance(subject.raw.train.X, pd.DataFrame):
        yield skipped("the target declares no data.group")
        return
    known = subject.raw.train.X[group].dropna().unique()
    shares = {name: float(split.X[group].isin(known).mean()) for name, split in subject.raw.items() if name != "train"}
    worst = max(shares, key=lambda name: shares[name])
    yield judge(
        shares[worst], above=share, where=f"{group} in {worst}",
        message=f"{shares[worst]:.0%} of {worst} belong to groups that are in train", fix=f"split by {group}",
    )


@check(layer=Layer.DATA, needs={"raw"}, detects={"missing_values": 0.92})
def missing_values(subject: Subject) -> Iterator[Judgement]:
    """Find missing values, and whether they reach the model; `value` is the missing share of the cells of the split that is named.

    Missing values that the preprocessing imputes are a warning; those that arrive in the model's inputs, in whichever split, or
    missing labels, a fault.

    Source: FAULTS of this project: non-finite before the model.
    """
    for name, split in subject.raw.items():
        y_missing = int(pd.isna(to_array(split.y)).sum())
        if y_missing:
            labels = "training labels" if name == "train" else f"labels of {name}"
            yield Judgement(
                Status.FAIL, f"{y_missing} of {len(split.y)} {labels} are missing", value=y_missing, threshold=0,
                where=f"{name} labels", fix="drop rows without a label",
            )
            return
    missing = {
        name: {column: count for column, count in scan.missing.items() if count}
        for name, scan in scans(subject).items()
    }
    if not any(missing.values()):
        yield passed("no cell is missing")
        return
    shares = {
        name: sum(missing[name].values()) / max(1, int(np.prod(np.shape(split.X))))
        for name, split in subject.raw.items()
    }
    arrives = {
        name: count for name, _ in subject.raw.items() if missing[name] and (count := _reaches_model(subject, name))
    }
    worst = next(iter(arrives), "train" if missing["train"] else max(shares, key=lambda name: shares[name]))
    cells = "training cells" if worst == "train" else f"cells of {worst}"
    text = f"{shares[worst]:.1%} of the {cells} are missing, in {len(missing[worst])} columns"
    yield Judgement(
        Status.FAIL if arrives else Status.WARN,
        text + (f", and {arrives[worst]} reach the model" if arrives else ", and none reaches the model"),
        value=shares[worst], threshold=0, where=", ".join(list(missing[worst])[:5]),
        fix="impute them, or drop the rows or columns",
    )


def _reaches_model(subject: Subject, name: str) -> int:
    try:
        prepared = getattr(subject.prepared, name).X
    except Exception:
        return 0
    if isinstance(prepared, pd.DataFrame):
        return sum(int(prepared[name].isna().sum()) for name in prepared.select_dtypes(include=["number"]).columns)
    from firstfault.stages import numbers

    return int(np.isnan(numbers(prepared)).sum())
