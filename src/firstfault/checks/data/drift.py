"""Distributions that moved: columns and labels against the reference, and against the splits that the user made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from firstfault.check import Judgement, check, passed, skipped
from firstfault.checks.data.rows import table
from firstfault.finding import Layer, Status
from firstfault.splits import Split, to_array
from firstfault.stages import numbers

SENTINELS = (-9.0, -99.0, -999.0, -9999.0, -99999.0)


def _others(subject: Any) -> dict[str, Split]:
    """What train is compared with: the reference, and the splits that the user declared."""
    others: dict[str, Split] = {}
    if subject.target.data.reference is not None:
        others["reference"] = subject.reference
    return others | {name: getattr(subject.raw, name) for name in subject.target.data.declared_splits}


@check(layer=Layer.DATA, needs={"raw"}, detects={"covariate_drift": 0.9})
def covariate_drift(subject: Any, *, effect: float = 0.12, p_value: float = 1e-3) -> Iterator[Judgement]:
    """Find columns whose distribution moved; `value` is the largest distance, 0–1.

    Numbers are compared by the Kolmogorov–Smirnov distance, categories by total variation. A column moved when the distance
    exceeds `effect` and the p-value, corrected for the number of columns (Bonferroni), is below `p_value`.

    Source: Rabanser et al. 2019, Failing Loudly; effect size beside p-value, since large samples make every difference significant.
    """
    others = _others(subject)
    if not others:
        yield skipped("there is no reference, and firstfault drew the splits itself")
        return
    for name, other in others.items():
        moved = _moved_columns(subject.raw.train.X, other.X, effect, p_value)
        if moved:
            worst = max(moved, key=lambda column: moved[column])
            ordered = subject.target.data.time is not None and name != "reference"
            yield Judgement(
                Status.WARN if ordered else Status.FAIL,
                f"{len(moved)} columns of train moved against {name}, {worst} the most (distance {moved[worst]:.2f})",
                value=moved[worst], threshold=effect, where=", ".join(sorted(moved, key=lambda column: -moved[column])[:5]),
                fix="find out what changed in the source, or retrain on recent data",
            )
            return
    yield passed(f"no column moved against {', '.join(others)}")


def _moved_columns(a: Any, b: Any, effect: float, p_value: float) -> dict[str, float]:
    first, second = _columns(a), _columns(b)
    shared = [name for name in first if name in second]
    moved = {}
    for name in shared:
        distance, p = column_distance(first[name], second[name])
        if distance > effect and p * len(shared) < p_value:
            moved[name] = distance
    return moved


def _columns(X: Any) -> dict[str, pd.Series]:
    frame = table(X)
    if frame is not None:
        return {str(name): frame[name] for name in frame.columns}
    values = numbers(X)
    flat = values.reshape(len(values), -1)
    return {"mean of a sample": pd.Series(flat.mean(1)), "deviation of a sample": pd.Series(flat.std(1))}


def column_distance(a: pd.Series, b: pd.Series) -> tuple[float, float]:
    """Distance 0–1 and p-value between two samples of one column."""
    from scipy import stats

    a, b = a.dropna(), b.dropna()
    if len(a) < 20 or len(b) < 20:
        return 0.0, 1.0
    if pd.api.types.is_numeric_dtype(a) and pd.api.types.is_numeric_dtype(b):
        result = stats.ks_2samp(a.to_numpy(dtype=float), b.to_numpy(dtype=float), method="asymp")
        return float(result.statistic), float(result.pvalue)
    counts = pd.DataFrame({"a": a.astype(str).value_counts(), "b": b.astype(str).value_counts()}).fillna(0.0)
    share = counts / counts.sum()
    distance = float((share["a"] - share["b"]).abs().sum() / 2)
    if len(counts) < 2 or len(counts) > 0.2 * min(len(a), len(b)):
        return 0.0, 1.0                                     # identifiers differ by nature
    return distance, float(stats.chi2_contingency(counts.to_numpy().T + 1e-9).pvalue)


@check(layer=Layer.DATA, needs={"raw"}, detects={"label_drift": 0.9, "degenerate_split": 0.9})
def label_drift(subject: Any, *, effect: float = 0.15, sorted_split: float = 0.5, p_value: float = 1e-3) -> Iterator[Judgement]:
    """Find labels distributed differently than in the reference or a split that the user made; `value` is the distance, 0–1.

    A split beyond `sorted_split` was cut from sorted data, and not drawn at random: then it is a degenerate split.

    Source: Lipton et al. 2018, label shift.
    """
    y = to_array(subject.raw.train.y)
    others = _others(subject)
    if y.ndim != 1 or not others:
        yield skipped("there is no reference, and firstfault drew the splits itself")
        return
    classes = subject.target.task == "classification"
    for name, other in others.items():
        first, second = (pd.Series(to_array(values)) for values in (y, other.y))
        distance, p = column_distance(first.astype(str), second.astype(str)) if classes else column_distance(first, second)
        if distance > effect and p < p_value:
            cut = name != "reference" and distance > sorted_split
            yield Judgement(
                Status.FAIL, f"the labels of train and {name} are {distance:.2f} apart", value=distance, threshold=effect,
                where=f"labels of {name}", faults={"degenerate_split" if cut else "label_drift": 0.9},
                fix="split at random, stratified by label" if cut else "check the labelling, then retrain",
            )
            return
    yield passed(f"the labels are distributed as in {', '.join(others)}")


@check(layer=Layer.DATA, needs={"raw"}, detects={"sentinel_value": 0.85})
def sentinel_value(subject: Any, *, share: float = 0.005) -> Iterator[Judgement]:
    """Find codes like −999 among numbers that are otherwise far from them; `value` is the largest share of a column.

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
            rest = values[values != code]
            if hit > share and len(rest) and rest.min() - code > 1.5 * max(float(np.ptp(np.quantile(rest, [0.25, 0.75]))), 1e-9) and rest.min() > code:
                found[str(name)] = hit
    if not found:
        yield passed("no number looks like a code for a missing value")
        return
    worst = max(found, key=lambda name: found[name])
    yield Judgement(
        Status.FAIL, f"{found[worst]:.1%} of {worst} are one code far below all other values", value=found[worst], threshold=share,
        where=", ".join(found), fix="read the code as missing, then impute",
    )
