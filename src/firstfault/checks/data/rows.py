"""Rows that occur more than once: within the source, across splits, and with different labels; and missing values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from firstfault.check import Judgement, check, judge, passed, skipped
from firstfault.checks.data._hashing import among, scan, scans, with_labels
from firstfault.checks.data._repeats import agreement, by_chance, copied_share, default_rows, repeats
from firstfault.checks.data._row_pairs import MOST_LISTED, Part, first_of, write_pairs
from firstfault.checks.data._unusable_inputs import missing_inputs
from firstfault.data.splits import Split, Splits, to_array
from firstfault.finding import Layer, Status
from firstfault.place import Kind, Place
from firstfault.subject.subject import Subject
from firstfault.texts import hashable

__all__ = ["conflicting_labels", "duplicate_rows", "group_overlap", "missing_values", "split_overlap"]

Array = np.ndarray[Any, Any]


def _dtype_is_discrete_label(y: Any) -> bool:
    return to_array(y).dtype.kind in "OUSbiu" or len(np.unique(to_array(y))) <= 50


@check(layer=Layer.DATA, needs={"raw"}, detects={"duplicate_rows": 0.9})
def duplicate_rows(
    subject: Subject, *, share: float = 0.05, certain: float = 0.01, times_chance: float = 5.0, recurring: float = 0.01
) -> Iterator[Judgement]:
    """Find rows of the training source that are copies of others, label and all.

    Measures: the share of copies among the rows of train and of the splits that firstfault drew from the same source.
    Fails when: chance explains next to no repeat (two different rows never share a column or half of the columns), and
        repeats are more than `certain` of the rows; or rows repeat by chance, and copies, told by their rarity, are
        more than `share`. Repeats are beyond chance from `times_chance` times as many as it explains.
    Warns when: the same holds for a language model: sentences repeat by nature.
    Not a fault when: few patterns make up more than `recurring` of the rows each: a recurring state, such as a default.
    Source: benchmarks/localise.py, fault duplicate_rows, copies a third of the rows, benchmarks/data_defects.py 3 %.
        The bounds are a choice of ours: UCI Adult repeats 10 % of its rows by chance, iris and digits 1–2 rows;
        tests/checks/data/test_copied_rows.py holds such cases.
    """
    parts = _source(subject)
    hashes = np.concatenate([with_labels(part.rows, part.split) for part in parts])
    repeated = repeats(hashes) & ~np.concatenate([part.rows.empty for part in parts])
    count, total = int(repeated.sum()), len(hashes)
    if not count:
        yield passed(f"none of the {total} rows is a repeat", value=0.0, where=Place.data("train"))
        return
    bounded = repeated & ~default_rows(hashes, repeated, recurring)
    chance = bounded.mean() > certain and by_chance(int(bounded.sum()), total**2 / 2, agreement(subject), times_chance)
    value = copied_share([part.split.X for part in parts], hashes, bounded) if chance else float(bounded.mean())
    bound = share if chance else certain
    yield judge(
        value,
        above=bound,
        otherwise=Status.WARN if subject.target.task == "language_model" else Status.FAIL,
        where=Place.data("train"),
        message=f"{count} of the {total} rows are repeats"
        + (f", {value:.1%} copies" if chance else ": too many for chance" if value > certain else ""),
        fix="drop the copies before splitting",
        artifacts=_listed(subject, parts, hashes, repeated) if value > bound else (),
    )


def _source(subject: Subject) -> list[Part]:
    """The splits that were declared as one source, train last."""
    declared, rows = subject.data.declared_splits, scans(subject)
    return [Part(name, split, rows[name]) for name, split in reversed(subject.raw.items()) if name not in declared]


def _listed(subject: Subject, parts: Sequence[Part], hashes: Array, repeated: Array) -> tuple[str, ...]:
    """Write the first pairs of equal rows to `duplicate_rows.csv`."""
    later = np.flatnonzero(repeated)[-MOST_LISTED:]  # train comes last, and is what the user looks at
    return write_pairs(subject, "duplicate_rows.csv", parts, later, first_of(hashes, hashes[later]))


def _given(subject: Subject) -> list[str]:
    """The splits that the user made; those that firstfault drew share rows only where the source repeats them."""
    return ["validation", "test"] if subject.target.prepare is not None else list(subject.data.declared_splits)


@check(layer=Layer.DATA, needs={"raw"}, detects={"split_overlap": 0.95})
def split_overlap(
    subject: Subject, *, share: float = 0.01, certain: float = 0.003, times_chance: float = 5.0, recurring: float = 0.01
) -> Iterator[Judgement]:
    """Find rows of train in the validation and test splits that the user made, or that `prepare` returns.

    Measures: the share of copied rows of the worst split.
    Fails when: chance explains next to no equal rows, and they are more than `certain` of the split; or rows repeat by
        chance, and copies, told by their rarity, are more than `share`. Equal rows are beyond chance from
        `times_chance` times as many as it explains.
    Not a fault when: few patterns make up more than `recurring` of the split each, or firstfault drew the splits
        itself.
    Source: Kapoor & Narayanan 2023, no clean separation of train and test; Barz & Denzler 2020 (3–10 % of CIFAR's test
        images are in train); benchmarks/localise.py, fault split_overlap, and benchmarks/data_defects.py, 1 % of test.
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
    judged = {
        name: _overlap(subject, source, parts[name], found[name], certain, times_chance, recurring) for name in names
    }
    name = max(names, key=lambda name: judged[name][0] / (share if judged[name][1] else certain))
    value, chance = judged[name]
    bound = share if chance else certain
    count, total = int(found[name].sum()), len(found[name])
    yield judge(
        value,
        above=bound,
        where=Place.data(name),
        fix="deduplicate before splitting, and oversample after",
        message=f"{count} of the {total} rows of {name} are also in train"
        + (f", {value:.1%} of it copied" if chance else ""),
        artifacts=_listed_across(subject, source, parts[name], found[name]) if value > bound else (),
    )


def _parts(subject: Subject) -> dict[str, Part] | None:
    if subject.target.prepare is None:
        rows = scans(subject)
        return {name: Part(name, split, rows[name]) for name, split in subject.raw.items()}
    try:
        prepared: Splits = subject.prepared
    except Exception:
        return None
    return {name: Part(name, split, scan(split.X)) for name, split in prepared.items()}


def _overlap(
    subject: Subject,
    source: list[Part],
    part: Part,
    found: Array,
    certain: float,
    times_chance: float,
    recurring: float,
) -> tuple[float, bool]:
    """The share of a split that is copied from its source, and whether some of it may be chance."""
    if not found.any():
        return 0.0, True
    known = np.concatenate([other.rows.hashes for other in source])
    bounded = found & ~default_rows(part.rows.hashes, found, recurring)
    if bounded.mean() <= certain:
        return float(bounded.mean()), False
    if subject.target.prepare is None and not by_chance(
        int(bounded.sum()), len(known) * len(found), agreement(subject), times_chance
    ):
        return float(bounded.mean()), False
    repeated = np.concatenate([np.full(len(known), np.nan), bounded])
    parts, hashes = [*(other.split.X for other in source), part.split.X], np.concatenate([known, part.rows.hashes])
    return copied_share(parts, hashes, repeated), True


def _listed_across(subject: Subject, source: list[Part], part: Part, found: Array) -> tuple[str, ...]:
    """Write the first rows of a split that are in train to `split_overlap.csv`."""
    rows = np.flatnonzero(found)[:MOST_LISTED]
    hashes = np.concatenate([known.rows.hashes for known in source])
    return write_pairs(
        subject, "split_overlap.csv", [*source, part], rows + len(hashes), first_of(hashes, part.rows.hashes[rows])
    )


@check(layer=Layer.DATA, needs={"raw"}, detects={"conflicting_labels": 0.9})
def conflicting_labels(subject: Subject, *, share: float = 0.03, recurring: float = 0.01) -> Iterator[Judgement]:
    """Find equal inputs with different labels.

    Measures: the share of training rows in conflict, without chance repeats.
    Fails when: the share is above `share`.
    Not a fault when: few patterns make up more than `recurring` of the rows each, or rows are so crowded that they are
        equal by chance: common rows of UCI Adult conflict by nature.
    Source: a choice of ours; tests/checks/data/test_copied_rows.py holds the cases that it separates.
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
    bounded = in_conflict & ~default_rows(rows.hashes, in_conflict, recurring)
    value = copied_share([train.X], rows.hashes, bounded)
    yield judge(
        value,
        above=share,
        where=Place.labels("train"),
        message=f"{int(in_conflict.sum())} training rows share their inputs with a row of another label",
        fix="decide one label per input",
    )


@check(layer=Layer.DATA, needs={"raw"}, detects={"group_overlap": 0.95})
def group_overlap(subject: Subject, *, share: float = 0.0) -> Iterator[Judgement]:
    """Find groups (patients, users, sources) on both sides of a split.

    Measures: the share of the rows of validation or test whose `data.group` is in train, of the worse of the two.
    Fails when: the share is above `share`.
    Source: Kapoor & Narayanan 2023, dependent samples in train and test.
    """
    group = subject.data.group
    if group is None or not isinstance(subject.raw.train.X, pd.DataFrame):
        yield skipped("the target declares no data.group")
        return
    groups = {name: hashable(split.X[group]) for name, split in subject.raw.items()}
    known = groups.pop("train").dropna().unique()
    shares = {name: float(own.isin(known).mean()) for name, own in groups.items()}
    worst = max(shares, key=lambda name: shares[name])
    yield judge(
        shares[worst],
        above=share,
        where=Place(Kind.COLUMN, (group,), worst),
        message=f"{shares[worst]:.0%} of {worst} belong to groups that are in train",
        fix=f"split by {group}",
    )


@check(layer=Layer.DATA, needs={"raw"}, detects={"missing_values": 0.92})
def missing_values(subject: Subject) -> Iterator[Judgement]:
    """Find missing values, and whether they reach the model.

    Measures: the missing share of the cells of one split: the first in which they reach the model, else train. Of
        labels it is the number that is missing.
    Fails when: a missing value is in the model's inputs of any split, or the steps before it refuse such values, or a
        label is missing.
    Warns when: the preparation replaces all of them, or the model takes them: an estimator that was fitted on them
        (boosted trees), or a network that answers them by finite numbers.
    Source: a number that is missing makes the loss NaN, so that no bound is needed; benchmarks/localise.py, fault
        missing_values, empties 2 % of the cells, as does benchmarks/data_defects.py in one column.
    """
    for name, split in subject.raw.items():
        y_missing = int(pd.isna(to_array(split.y)).sum())
        if y_missing:
            labels = "training labels" if name == "train" else f"labels of {name}"
            yield Judgement(
                Status.FAIL,
                f"{y_missing} of {len(split.y)} {labels} are missing",
                value=y_missing,
                threshold=0,
                where=Place.labels(name),
                fix="drop rows without a label",
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
        name: count
        for name, found in missing.items()
        if found and (count := missing_inputs(subject, name, sum(found.values())))
    }
    worst = next(iter(arrives), "train" if missing["train"] else max(shares, key=lambda name: shares[name]))
    cells = "training cells" if worst == "train" else f"cells of {worst}"
    text = f"{shares[worst]:.1%} of the {cells} are missing, in {len(missing[worst])} columns"
    yield Judgement(
        Status.FAIL if arrives else Status.WARN,
        text + (f", and {arrives[worst]} reach the model" if arrives else ", and none harms the model"),
        value=shares[worst],
        threshold=0,
        where=Place.columns(*list(missing[worst])[:5]),
        fix="impute them, or drop the rows or columns",
    )
