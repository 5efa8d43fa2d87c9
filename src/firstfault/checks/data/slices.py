"""Parts of the data, one column's value or range at a time, that fast models get wrong far more often than the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from firstfault.behaviour.statistics import holm
from firstfault.check import Depth, Judgement, check, passed, skipped
from firstfault.checks.data._out_of_fold import FEWEST_ROWS, out_of_fold
from firstfault.data.frames import table
from firstfault.finding import Layer, Status
from firstfault.output.spreadsheets import write_frame
from firstfault.place import Place
from firstfault.subject.subject import Subject
from firstfault.texts import as_text

Array = np.ndarray[Any, Any]

FILE = "slices.csv"
MOST_COLUMNS = 60  # with the next, 1,200 slices at most: more would leave nothing significant
MOST_VALUES = 20  # the commonest; numbers of more than half as many are cut into ranges
RANGES = 4  # quarters of a column of numbers


class Slice(NamedTuple):
    """One slice with its error rate and that of all other rows; `p` is corrected for the number of slices."""

    column: str
    value: str
    rows: int
    error: float
    rest: float
    p: float


@check(layer=Layer.DATA, needs={"raw"}, detects={}, depth=Depth.STANDARD)
def weak_slices(
    subject: Subject, *, times: float = 1.5, points: float = 0.05, fewest: int = 30, p_value: float = 0.01
) -> Iterator[Judgement]:
    """Find slices of the data that fast models get wrong far more often than the rest.

    Measures: the error rate of the worst weak slice, by two models fitted on other rows. A slice is a category, or a
        quarter of the range, of one column: sensitive ones first, 60 columns at most. `slices.csv` lists all weak ones.
    Warns when: a slice of at least `fewest` rows has more than `times` the error rate of the rest and more than
        `points` above it, with a p-value (hypergeometric, corrected by Holm for all slices) below `p_value`. More data,
        better columns or a closer look at the labels pay there.
    Source: Chung et al. 2019, Slice Finder (effect size beside significance); Holm 1979.
    """
    found = out_of_fold(subject)
    frame = table(subject.raw.train.X)
    if found is None or frame is None:
        yield skipped(f"only tables with classes and at least {FEWEST_ROWS} rows are looked at")
        return
    frame = frame.iloc[found.rows].reset_index(drop=True)
    slices = measured(frame, found.wrong, [str(name) for name in subject.data.sensitive], fewest)
    weak = [
        entry
        for entry in slices
        if entry.p < p_value and entry.error > times * entry.rest and entry.error > entry.rest + points
    ]
    if not weak:
        yield passed(f"none of {len(slices)} slices is much harder than the rest")
        return
    weak.sort(key=lambda entry: -entry.error)
    _write(subject, frame, weak)
    worst = weak[0]
    yield Judgement(
        Status.WARN,
        f"{len(weak)} of {len(slices)} slices are much harder than the rest; in the worst, {_named(worst)}, "
        f"{worst.error:.0%} of the predictions are wrong, elsewhere {worst.rest:.0%}",
        value=worst.error,
        threshold=times * worst.rest,
        where=Place.columns(*dict.fromkeys(entry.column for entry in weak[:5])),
        fix="look at these rows: collect more like them, or the columns that tell them apart",
        artifacts=(FILE,),
    )


def _named(entry: Slice) -> str:
    """A slice by its size and column; its value, which may be personal, stays in the table."""
    return f"{entry.rows:,} rows by {entry.column}"


def measured(frame: pd.DataFrame, wrong: Array, first: Sequence[str], fewest: int) -> list[Slice]:
    """Every slice of at least `fewest` rows (and as many outside), with its p-value corrected by Holm's method."""
    from scipy.stats import hypergeom

    names = sorted(frame.columns, key=lambda name: str(name) not in first)[:MOST_COLUMNS]
    raw = []
    for name in names:
        for value, inside in _parts(frame[name]):
            rows = int(inside.sum())
            if rows < fewest or len(wrong) - rows < fewest:
                continue
            p = float(hypergeom.sf(int(wrong[inside].sum()) - 1, len(wrong), int(wrong.sum()), rows))
            raw.append(Slice(str(name), value, rows, float(wrong[inside].mean()), float(wrong[~inside].mean()), p))
    corrected = holm(np.array([entry.p for entry in raw]))
    return [entry._replace(p=float(p)) for entry, p in zip(raw, corrected, strict=True)]


def _parts(column: pd.Series) -> Iterator[tuple[str, Array]]:
    missing = column.isna().to_numpy()
    if missing.any():
        yield "missing", missing
    numeric = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    if numeric and column.nunique() > MOST_VALUES // 2:
        yield from _ranges(column.to_numpy(dtype=float, na_value=np.nan))
        return
    text = as_text(column)
    for value in text[~missing].value_counts().index[:MOST_VALUES]:
        yield str(value), (text == value).to_numpy() & ~missing


def _ranges(values: Array) -> Iterator[tuple[str, Array]]:
    known = values[np.isfinite(values)]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, RANGES + 1)))
    for low, high in zip(edges, edges[1:], strict=False):
        last = high == edges[-1]
        yield f"{low:.4g} to {high:.4g}", (values >= low) & ((values <= high) if last else (values < high))


def _write(subject: Subject, frame: pd.DataFrame, weak: Sequence[Slice]) -> None:
    from firstfault.data.privacy.masking import masked_text, personal_columns

    personal = {str(name) for name in personal_columns(frame)}
    table = pd.DataFrame([entry._asdict() for entry in weak])
    table["value"] = ["•••" if entry.column in personal else masked_text(entry.value) for entry in weak]
    write_frame(subject.folder / FILE, table.rename(columns={"value": "slice"}).round({"error": 4, "rest": 4}))
