"""Distributions that moved: columns and labels against the reference, and against the splits that the user made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from firstfault.check import Judgement, check, passed, skipped
from firstfault.checks.data.compared import MOST_ROWS, Compared, Pair, compared, others, sampled, split_by
from firstfault.checks.data.distances import Distance, column_distance, distance
from firstfault.checks.data.drift_tables import TABLE, write_drift
from firstfault.finding import Layer, Status
from firstfault.frames import table
from firstfault.splits import Split, to_array
from firstfault.subject import Subject

__all__ = ["column_distance", "covariate_drift", "label_drift", "sentinel_value"]

SENTINELS = (-9.0, -99.0, -999.0, -9999.0, -99999.0)
SHOWN = 5
MOST_LABELS = 100
_NOTHING_TO_COMPARE = "there is no reference, and firstfault drew the splits itself"


class Moved(NamedTuple):
    """What train was compared with, the distance of every column, and those whose values or missing share moved (name to distance)."""

    beside: Compared
    distances: Mapping[str, Distance]
    columns: Mapping[str, float]
    missing: Mapping[str, float]


@check(layer=Layer.DATA, needs={"raw"}, detects={"covariate_drift": 0.9})
def covariate_drift(subject: Subject, *, effect: float = 0.12, p_value: float = 1e-3) -> Iterator[Judgement]:
    """Find columns whose distribution moved; `value` is the largest distance, 0–1.

    At most 30,000 rows of each side are compared, whose sampling error (0.008) is far below `effect`: numbers by the
    Kolmogorov–Smirnov distance, categories by total variation, images and prose by simple features such as brightness and length. A
    column moved when the distance exceeds `effect` and the p-value, corrected for the number of columns (Bonferroni), is below `p_value`.
    Times, declared groups and identifiers differ by nature, and are left out. Where the labels moved, rows are compared at equal
    shares of the classes, so that this is no drift of the inputs. A difference from a split by a declared time or group
    is a warning, and so is one in missing values alone. `drift.csv` lists every column, `drift.png` shows the most moved.

    Source: Rabanser et al. 2019, Failing Loudly; effect size beside p-value, since large samples make every difference significant.
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
            Status.PASS, f"no column moved against {', '.join(against)}", artifacts=(TABLE,), threshold=effect,
            value=max(found_in.value for entry in found for found_in in entry.distances.values()),
        )


def _moved(beside: Compared, effect: float, p_value: float) -> Moved:
    distances = {name: distance(*pair) for name, pair in beside.columns.items()}
    tests = max(1, len(distances))
    columns = {
        name: found.value for name, found in distances.items() if found.value > effect and found.p * tests < p_value
    }
    missing = {
        name: share for name, pair in beside.columns.items()
        if (share := _missing_apart(pair, p_value / tests)) > effect
    }
    return Moved(
        beside, {name: found._replace(p=min(1.0, found.p * tests)) for name, found in distances.items()}, columns,
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
    from firstfault.checks.data.drift_pictures import draw_drift

    beside, names = moved.beside, sorted(moved.columns, key=lambda name: -moved.columns[name])
    worst = names[0]
    pictures = draw_drift(subject.folder, beside, {name: moved.distances[name] for name in names})
    count = f"{len(names)} column{'s' if len(names) > 1 else ''}"
    return Judgement(
        Status.WARN if beside.meant else Status.FAIL,
        f"{count} of train moved against {beside.name}, {worst} the most (distance "
        f"{moved.columns[worst]:.2f}{_shift(moved.distances[worst])})"
        + (f"; the split is by {beside.meant}, so that this may be meant" if beside.meant else ""),
        value=moved.columns[worst], threshold=effect, where=", ".join(names[:SHOWN]),
        fix="find out what changed in the source, or retrain on recent data", artifacts=(TABLE, *pictures),
    )


def _shift(found: Distance) -> str:
    return "" if found.kind == "category" or not np.isfinite(found.shift) else f", {found.shift:.2g} deviations"


def _missing_drifted(moved: Moved, effect: float) -> Judgement:
    names = sorted(moved.missing, key=lambda name: -moved.missing[name])
    return Judgement(
        Status.WARN,
        f"the missing share of {names[0]} in train and {moved.beside.name} is {moved.missing[names[0]]:.0%} apart",
        value=moved.missing[names[0]], threshold=effect, where=", ".join(names[:SHOWN]), faults={}, artifacts=(TABLE,),
        fix="find out why the values are missing there",
    )


@check(layer=Layer.DATA, needs={"raw"}, detects={"label_drift": 0.9, "degenerate_split": 0.9})
def label_drift(
    subject: Subject, *, effect: float = 0.15, sorted_split: float = 0.5, p_value: float = 1e-3
) -> Iterator[Judgement]:
    """Find labels distributed differently than in the reference or a split that the user made; `value` is the distance, 0–1.

    Classes are compared by total variation, numbers by the Kolmogorov–Smirnov distance; of several labels each on its own, and the
    p-value is corrected for their number (Bonferroni). A split beyond `sorted_split` was cut from sorted data, and not drawn at
    random: then it is a degenerate split. Below it, or where the labels are numbers, a difference from a split by time or group is a warning.

    Source: Lipton et al. 2018, label shift.
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
        apart, p, place = _labels_apart(subject, other)
        nearest[name] = apart
        if apart > effect and p < p_value:
            cut = name != "reference" and apart > sorted_split
            meant = (
                split_by(subject, other) if name != "reference" and (not cut or subject.target.task == "regression")
                else ""
            )
            yield Judgement(
                Status.WARN if meant else Status.FAIL,
                f"the labels of train and {name} are {apart:.2f} apart{place}"
                + (f"; the split is by {meant}, so that this may be meant" if meant else ""),
                value=apart, threshold=effect, where=f"labels of {name}",
                faults={"degenerate_split" if cut else "label_drift": 0.9},
                fix="split at random, stratified by label" if cut and not meant else "check the labelling, then retrain",
            )
            return
    yield passed(f"the labels are distributed as in {', '.join(against)}", value=max(nearest.values()))


def _labels_apart(subject: Subject, other: Split) -> tuple[float, float, str]:
    """The distance of the most moved label with its corrected p-value, and which label it is, where there are several."""
    first, second = to_array(subject.raw.train.y), to_array(other.y)
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
    return (
        column_distance(a, b) if task == "regression"
        else column_distance(a.dropna().astype(str), b.dropna().astype(str))
    )


@check(layer=Layer.DATA, needs={"raw"}, detects={"sentinel_value": 0.85})
def sentinel_value(subject: Subject, *, share: float = 0.005) -> Iterator[Judgement]:
    """Find codes like −999 among numbers that are otherwise far from them, or never negative; `value` is the largest share of a column.

    Source: FAULTS of this project: one exact extreme value repeated.
    """
    frame = table(subject.raw.train.X)
    if frame is None:
        yield skipped("only tables are looked at")
        return
    found: dict[str, float] = {}
    for name in frame.select_dtypes(include=["number"]).columns:
        values = frame[name].dropna().to_numpy(dtype=float)
        for code in SENTINELS:
            hit = float((values == code).mean()) if len(values) else 0.0
            if hit <= share:
                continue
            if _stands_alone(code, values[values != code]):
                found[str(name)] = hit
    if not found:
        yield passed("no number looks like a code for a missing value")
        return
    worst = max(found, key=lambda name: found[name])
    yield Judgement(
        Status.FAIL, f"{found[worst]:.1%} of {worst} are one code below all other values", value=found[worst],
        threshold=share, where=", ".join(found), fix="read the code as missing, then impute",
    )


def _stands_alone(code: float, rest: np.ndarray[Any, Any]) -> bool:
    """Whether a negative code lies far below all other values, or is the only value below zero."""
    if not len(rest) or rest.min() <= code:
        return False
    spread = max(float(np.ptp(np.quantile(rest, [0.25, 0.75]))), 1e-9)
    return bool(rest.min() - code > 1.5 * spread or rest.min() >= 0)
