"""Pictures of drift: the columns that moved the most, and the two that together tell train from the rest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from firstfault.charts.bars import Series, bins_of, histograms, share_bars, shares_in
from firstfault.charts.files import write_picture
from firstfault.charts.scatter import Group, Point, scatter
from firstfault.charts.svg import Part, grid, key, whole
from firstfault.checks.data._distances import Distance, as_numbers, category_counts
from firstfault.checks.data._drift_tables import personal
from firstfault.checks.data._reference_splits import Compared, Pair
from firstfault.data.privacy.masking import masked_text

DRIFT, JOINT = "drift.svg", "joint_drift.svg"
MOST_COLUMNS, ACROSS, BINS, CATEGORIES, POINTS = 6, 3, 30, 8, 1_200  # what stays legible in one picture
BEFORE, AFTER = "other", "validation"  # classes of colour
PANEL = (300.0, 190.0)  # pixels of one column's picture


def draw_drift(folder: Path, beside: Compared, moved: Mapping[str, Distance]) -> tuple[str, ...]:
    """Draw up to six moved columns, train over the other side; the file's name, none when all are personal."""
    hidden = personal(beside)
    names = [name for name in moved if name not in hidden][:MOST_COLUMNS]
    if not names:
        return ()
    titles = {name: f"{_short(name)} · distance {moved[name].value:.2f}" for name in names}
    columns = [_column(titles[name], beside.columns[name], beside.name) for name in names]
    drawn = grid(columns, 2 if len(names) in (2, 4) else min(ACROSS, len(names)))
    sides = key([(BEFORE, beside.name), (AFTER, "train")], drawn.width)
    title = "The columns that moved" if len(names) == len(moved) else "The columns that moved most"
    return (write_picture(folder, DRIFT, whole(title, grid([drawn, sides], 1, 8))),)


def _column(title: str, pair: Pair, other: str) -> Part:
    numbers, others = (as_numbers(column.dropna()) for column in pair)
    if numbers is None or others is None or not (len(numbers) and len(others)):
        return _bars(title, category_counts(pair.train.dropna(), pair.other.dropna()), other)
    edges = bins_of(np.concatenate([numbers, others]), BINS)
    train, rest = shares_in(numbers, edges), shares_in(others, edges)
    series = [Series(other, rest, BEFORE), Series("train", train, AFTER)]
    return histograms(title, edges.tolist(), series, x_label="value", y_label="share of rows", size=PANEL)


def _bars(title: str, counts: pd.DataFrame, other: str) -> Part:
    share = counts / counts.sum().clip(lower=1)
    told = (share["a"] - share["b"]).abs().sort_values(ascending=False).index[:CATEGORIES]
    share = share.loc[told].sort_values("b", ascending=False)
    series = [Series(other, share["b"].tolist(), BEFORE), Series("train", share["a"].tolist(), AFTER)]
    names = [_short(masked_text(str(value)), 18) for value in share.index]
    return share_bars(title, names, series, x_label="share of rows", width=PANEL[0])


def draw_joint(folder: Path, beside: Compared, names: list[str]) -> tuple[str, ...]:
    """Draw both sides over the two columns that part them best; none where they are no numbers."""
    hidden = personal(beside)
    numeric = [
        name for name in names if name in beside.columns and name not in hidden and _is_drawn(beside.columns[name])
    ][:2]
    if len(numeric) < 2:
        return ()
    points = {side: _points(beside, numeric, side) for side in ("other", "train")}
    everything = [point for some in points.values() for point in _pairs(some)]
    panes = [
        scatter(
            f"{title}, correlation {_correlation(points[side]):.2f}",
            [Group("points", _pairs(points[side]), colour)],
            x_label=_short(numeric[0]),
            y_label=_short(numeric[1]),
            size=(400, 320),
            within=everything,
        )
        for side, colour, title in (("other", BEFORE, beside.name), ("train", AFTER, "train"))
    ]
    return (write_picture(folder, JOINT, whole("Two columns that moved together", grid(panes, 2))),)


def _points(beside: Compared, names: list[str], side: str) -> pd.DataFrame:
    """The first rows of a side that have both numbers."""
    columns = {name: pd.to_numeric(getattr(beside.columns[name], side), errors="coerce") for name in names}
    return pd.DataFrame(columns).dropna().iloc[:POINTS].astype(float)


def _pairs(points: pd.DataFrame) -> list[Point]:
    return list(zip(points.iloc[:, 0].tolist(), points.iloc[:, 1].tolist(), strict=True))


def _is_drawn(pair: Pair) -> bool:
    values = [as_numbers(column.dropna()) for column in pair]
    return all(found is not None and len(np.unique(found[:200])) > 10 for found in values)


def _correlation(points: pd.DataFrame) -> float:
    from scipy.stats import spearmanr

    return float(np.nan_to_num(spearmanr(points.iloc[:, 0], points.iloc[:, 1]).statistic)) if len(points) > 2 else 0.0


def _short(text: str, most: int = 34) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
