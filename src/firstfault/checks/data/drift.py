"""Distributions that moved: columns and labels against the reference, and against the splits that the user made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from firstfault.check import Judgement, check, passed, skipped
from firstfault.checks.data._classes import as_in_train, is_cut_off, lacking, shares_no_label, unknown_labels
from firstfault.checks.data._distances import Distance, column_distance, distance
from firstfault.checks.data._drift_tables import TABLE, write_drift
from firstfault.checks.data._reference_splits import MOST_ROWS, Compared, Pair, compared, others, sampled, split_by
from firstfault.checks.data._times import follows_in_time
from firstfault.checks.data.non_iid import is_sorted
from firstfault.data.splits import Split, to_array
from firstfault.finding import Layer, Status
from firstfault.place import SHOWN, Place
from firstfault.subject.subject import Subject
from firstfault.texts import as_text

__all__ = ["column_distance", "covariate_drift", "label_drift"]

MOST_LABELS = 100  # columns of labels: bounds the time
_NOTHING_TO_COMPARE = "there is no reference, and firstfault drew the splits itself"


class Moved(NamedTuple):
    """What train was compared with, the distances of all columns, and the columns that moved, by values or gaps."""

    beside: Compared
    distances: Mapping[str, Distance]
    columns: Mapping[str, float]
    missing: Mapping[str, float]


@check(layer=Layer.DATA, needs={"raw"}, detects={"covariate_drift": 0.9})
def covariate_drift(subject: Subject, *, effect: float = 0.12, p_value: float = 1e-3) -> Iterator[Judgement]:
    """Find columns whose distribution moved between train and the reference or a declared split.

    Measures: the largest distance of a column, 0–1, on at most 30,000 rows of each side: Kolmogorov–Smirnov for
        numbers, total variation for categories. Images and prose are compared by features such as brightness and
        length. `drift.csv` lists every column, `drift.svg` shows those that moved the most.
    Fails when: the distance is above `effect`, and the p-value, corrected for the number of columns (Bonferroni), is
        below `p_value`.
    Warns when: the split is by a declared time or group, or later than train in the only column of moments, or only the
        share of missing values moved.
    Not a fault when: only times, declared groups or identifiers differ: they do so by nature, and are left out. Where
        the labels moved, rows are compared at equal shares of the classes.
    Source: Rabanser et al. 2019, Failing Loudly; an effect size beside the p-value, as large samples make every
        difference significant. benchmarks/data_defects.py plants a shift by half a deviation, benchmarks/localise.py by
        0.8 and more.
    """
    against = others(subject)
    if not against:
        yield skipped(_NOTHING_TO_COMPARE)
        return
    found = [_moved(compared(subject, name, other), effect, p_value) for name, other in against.items()]
    if not any(entry.distances for entry in found):
        yield skipped("no column can be compared")
        return
    write_drift(subject, [(entry.beside, entry.distances, {**entry.missing, **entry.columns}) for entry in found])
    worst = max(
        found,
        key=lambda entry: (bool(entry.columns) and not entry.beside.meant, bool(entry.columns), bool(entry.missing)),
    )
    if worst.columns:
        yield _drifted(subject, worst, effect)
    elif worst.missing:
        yield _missing_drifted(worst, effect)
    else:
        yield Judgement(
            Status.PASS,
            f"no column moved against {', '.join(against)}",
            artifacts=(TABLE,),
            threshold=effect,
            value=max(found_in.value for entry in found for found_in in entry.distances.values()),
        )


def _moved(beside: Compared, effect: float, p_value: float) -> Moved:
    distances = {name: distance(*pair) for name, pair in beside.columns.items()}
    tests = max(1, len(distances))
    columns = {
        name: found.value for name, found in distances.items() if found.value > effect and found.p * tests < p_value
    }
    missing = {
        name: share
        for name, pair in beside.columns.items()
        if (share := _missing_apart(pair, p_value / tests)) > effect
    }
    return Moved(
        beside,
        {name: found._replace(p=min(1.0, found.p * tests)) for name, found in distances.items()},
        columns,
        missing,
    )


def _missing_apart(pair: Pair, p_value: float) -> float:
    """How far the missing shares of a column are apart; 0 where chance explains it."""
    from scipy.stats import norm

    counts, sizes = [int(column.isna().sum()) for column in pair], [max(1, len(column)) for column in pair]
    apart = abs(counts[0] / sizes[0] - counts[1] / sizes[1])
    pooled = (sum(counts) + 1) / (sum(sizes) + 2)
    error = np.sqrt(pooled * (1 - pooled) * (1 / sizes[0] + 1 / sizes[1]))
    return apart if 2 * norm.sf(apart / error) < p_value else 0.0


def _drifted(subject: Subject, moved: Moved, effect: float) -> Judgement:
    from firstfault.checks.data._drift_pictures import draw_drift

    beside, names = moved.beside, sorted(moved.columns, key=lambda name: -moved.columns[name])
    worst = names[0]
    pictures = draw_drift(subject.folder, beside, {name: moved.distances[name] for name in names})
    count = f"{len(names)} column{'s' if len(names) > 1 else ''}"
    return Judgement(
        Status.WARN if beside.meant else Status.FAIL,
        f"{count} of train moved against {beside.name}, {worst} the most (distance "
        f"{moved.columns[worst]:.2f}{_shift(moved.distances[worst])})"
        + (f"; the split is by {beside.meant}, so that this may be meant" if beside.meant else ""),
        value=moved.columns[worst],
        threshold=effect,
        where=Place.columns(*names[:SHOWN]),
        fix="find out what changed in the source, or retrain on recent data",
        artifacts=(TABLE, *pictures),
    )


def _shift(found: Distance) -> str:
    return "" if found.kind == "category" or not np.isfinite(found.shift) else f", {found.shift:.2g} deviations"


def _missing_drifted(moved: Moved, effect: float) -> Judgement:
    names = sorted(moved.missing, key=lambda name: -moved.missing[name])
    return Judgement(
        Status.WARN,
        f"the missing share of {names[0]} in train and {moved.beside.name} is {moved.missing[names[0]]:.0%} apart",
        value=moved.missing[names[0]],
        threshold=effect,
        where=Place.columns(*names[:SHOWN]),
        faults={},
        artifacts=(TABLE,),
        fix="find out why the values are missing there",
    )


@check(layer=Layer.DATA, needs={"raw"}, detects={"label_drift": 0.9, "degenerate_split": 0.9})
def label_drift(
    subject: Subject, *, effect: float = 0.15, sorted_split: float = 0.5, p_value: float = 1e-3
) -> Iterator[Judgement]:
    """Find labels that are distributed differently than in the reference or a declared split.

    Measures: the distance of the labels, 0–1: total variation for classes, Kolmogorov–Smirnov for numbers. Of several
        labels it is the largest, and the p-value is corrected for their number (Bonferroni).
    Fails when: the distance is above `effect` with a p-value below `p_value`. Above `sorted_split` the split was cut
        from sorted data, which is `degenerate_split`, unless numbers are those of train times one factor.
    Warns when: the split is by a declared time or group, or later than train in the only column of moments, and the
        distance is at most `sorted_split`, the labels are numbers, or all rows of the split are later than those of
        train.
    Not a fault when: labels are only written otherwise, or none of a split is one of train that is in no order: at
        these `missing_class` looks.
    Source: Lipton et al. 2018, label shift; benchmarks/localise.py, fault degenerate_split, cuts the splits from sorted
        rows.
    """
    against = others(subject)
    if not against:
        yield skipped(_NOTHING_TO_COMPARE)
        return
    if subject.target.task == "language_model":
        yield skipped("the labels of a language model are texts")
        return
    nearest = {}
    for name, other in against.items():
        if shares_no_label(subject, other) and not is_sorted(subject):
            yield skipped(f"no label of {name} is one of train, at which missing_class looks")
            return
        apart, p, place = _labels_apart(subject, other)
        nearest[name] = apart
        if apart > effect and p < p_value:
            cut = name != "reference" and apart > sorted_split and not _lacks_classes(subject, name)
            cut = cut and not _in_another_unit(subject, other, effect)
            meant = (
                split_by(subject, other)
                if name != "reference"
                and (not cut or subject.target.task == "regression" or follows_in_time(subject, other))
                else ""
            )
            yield Judgement(
                Status.WARN if meant else Status.FAIL,
                f"the labels of train and {name} are {apart:.2f} apart{place}"
                + (f"; the split is by {meant}, so that this may be meant" if meant else ""),
                value=apart,
                threshold=effect,
                where=Place.labels(name),
                faults={"degenerate_split" if cut else "label_drift": 0.9},
                fix="split at random, stratified by label"
                if cut and not meant
                else "check the labelling, then retrain",
            )
            return
    yield passed(f"the labels are distributed as in {', '.join(against)}", value=max(nearest.values()))


def _lacks_classes(subject: Subject, name: str) -> bool:
    """Whether classes are lacking, but not as in a piece of sorted rows: at these `missing_class` looks."""
    split = getattr(subject.raw, name)
    apart = lacking(subject, split, 1e-6) or unknown_labels(subject, split).new
    return bool(apart) and not is_cut_off(subject, name)


def _in_another_unit(subject: Subject, other: Split, effect: float) -> bool:
    """Whether the numbers to predict are those of train times one factor, as no piece of sorted rows is."""
    first, second = to_array(subject.raw.train.y), to_array(other.y)
    if subject.target.task != "regression" or first.ndim != 1 or second.ndim != 1:
        return False
    with np.errstate(all="ignore"):
        factor = np.nanmedian(second) / np.nanmedian(first)
    return bool(np.isfinite(factor) and _label_distance(first * factor, second, "regression")[0] < effect)


def _labels_apart(subject: Subject, other: Split) -> tuple[float, float, str]:
    """The distance of the most moved label with its corrected p-value; and which it is, where there are several."""
    first, second = to_array(subject.raw.train.y), as_in_train(subject, other)
    if first.ndim == 1 and second.ndim == 1:
        return (*_label_distance(first, second, subject.target.task), "")
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1] or first.shape[1] > MOST_LABELS:
        return 0.0, 1.0, ""
    found = [
        (*_label_distance(first[:, at], second[:, at], subject.target.task), f", the label at {at} the most")
        for at in range(first.shape[1])
    ]
    apart, p, place = max(found)
    return apart, p * len(found), place


def _label_distance(first: Any, second: Any, task: str) -> tuple[float, float]:
    a, b = (pd.Series(values[sampled(len(values), MOST_ROWS, seed)]) for seed, values in enumerate((first, second)))
    return column_distance(a, b) if task == "regression" else column_distance(as_text(a.dropna()), as_text(b.dropna()))
