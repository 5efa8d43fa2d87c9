"""Pictures of drift: the columns that moved the most, and the two that part train from the rest together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from firstfault.checks.data._distances import Distance, as_numbers, category_counts
from firstfault.checks.data._drift_tables import personal
from firstfault.checks.data._pictures import INK, MUTED, figure, save
from firstfault.checks.data._reference_splits import Compared, Pair
from firstfault.data.privacy.masking import masked_text
from firstfault.extras import optional_files

Array = np.ndarray[Any, Any]

DRIFT, JOINT = "drift.png", "joint_drift.png"
MOST_COLUMNS, ACROSS, BINS, CATEGORIES, POINTS = 6, 3, 30, 8, 1_200  # what stays legible in one picture
BEFORE, AFTER = "#7a869a", "#c14a09"


@optional_files
def draw_drift(folder: Path, beside: Compared, moved: Mapping[str, Distance]) -> tuple[str, ...]:
    """Draw up to six moved columns, train over the other side; the file's name, none when all are personal."""
    hidden = personal(beside)
    names = [name for name in moved if name not in hidden][:MOST_COLUMNS]
    if not names:
        return ()
    across = 2 if len(names) in (2, 4) else min(ACROSS, len(names))
    made = figure(max(3.5 * across, 4.4), 2.5 * -(-len(names) // across) + 0.3)
    for place, name in enumerate(names):
        axes = made.add_subplot(-(-len(names) // across), across, place + 1)
        _draw_column(axes, beside.columns[name], beside.name)
        axes.set_title(f"{_short(name)} · distance {moved[name].value:.2f}", loc="left", fontsize=9, color=INK)
        _plain(axes)
    made.axes[0].legend(frameon=False, fontsize=8)
    return (save(made, folder, DRIFT),)


def _draw_column(axes: Any, pair: Pair, other: str) -> None:
    values = [as_numbers(column.dropna()) for column in pair]
    if values[0] is None or values[1] is None or not (len(values[0]) and len(values[1])):
        _bars(axes, category_counts(pair.train.dropna(), pair.other.dropna()), other)
        return
    edges = _edges(np.concatenate([values[0], values[1]]))
    low, high = edges[0], edges[-1]
    for numbers, colour, name, filled in ((values[1], BEFORE, other, True), (values[0], AFTER, "train", False)):
        heights = np.histogram(numbers.clip(low, high), edges)[0] / max(1, len(numbers))
        axes.stairs(heights, edges, fill=filled, color=colour, alpha=0.45 if filled else 1.0, linewidth=1.5, label=name)
    axes.set_ylabel("share of rows", fontsize=8, color=MUTED)


def _edges(values: Array) -> Array:
    """Bins over all but the extreme half per cent at either end; of a few whole numbers, one for each."""
    low, high = (float(value) for value in np.quantile(values, [0.005, 0.995]))
    if high - low <= 2 * BINS and (values % 1 == 0).all():
        return np.arange(np.floor(low) - 0.5, np.ceil(high) + 1.0)
    return np.linspace(low, high, BINS + 1) if high > low else np.array([low - 0.5, low + 0.5])


def _bars(axes: Any, counts: pd.DataFrame, other: str) -> None:
    share = counts / counts.sum().clip(lower=1)
    told = (share["a"] - share["b"]).abs().sort_values(ascending=False).index[:CATEGORIES]
    share = share.loc[told].sort_values("b", ascending=False)
    places = np.arange(len(share))[::-1]
    axes.barh(places + 0.2, share["b"], 0.38, color=BEFORE, alpha=0.6, label=other)
    axes.barh(places - 0.2, share["a"], 0.38, color=AFTER, label="train")
    axes.set_yticks(places, [_short(masked_text(str(value)), 18) for value in share.index])
    axes.set_xlabel("share of rows", fontsize=8, color=MUTED)
    axes.locator_params(axis="x", nbins=5)


@optional_files
def draw_joint(folder: Path, beside: Compared, names: list[str]) -> tuple[str, ...]:
    """Draw both sides over the two columns that part them best; none where they are no numbers."""
    hidden = personal(beside)
    numeric = [
        name for name in names if name in beside.columns and name not in hidden and _is_drawn(beside.columns[name])
    ][:2]
    if len(numeric) < 2:
        return ()
    made = figure(8.6, 4.0)
    panes = made.subplots(1, 2, sharex=True, sharey=True)
    for axes, side, colour, title in ((panes[0], "other", BEFORE, beside.name), (panes[1], "train", AFTER, "train")):
        points = (
            pd.DataFrame(
                {name: pd.to_numeric(getattr(beside.columns[name], side), errors="coerce") for name in numeric}
            )
            .dropna()
            .iloc[:POINTS]
        )
        axes.scatter(*points.to_numpy(dtype=float).T, s=8, alpha=0.5, linewidths=0, color=colour)
        axes.set_title(f"{title}, correlation {_correlation(points):.2f}", loc="left", fontsize=9, color=INK)
        axes.set_xlabel(_short(numeric[0]), fontsize=8, color=MUTED)
        _plain(axes)
    panes[0].set_ylabel(_short(numeric[1]), fontsize=8, color=MUTED)
    return (save(made, folder, JOINT),)


def _is_drawn(pair: Pair) -> bool:
    values = [as_numbers(column.dropna()) for column in pair]
    return all(found is not None and len(np.unique(found[:200])) > 10 for found in values)


def _correlation(points: pd.DataFrame) -> float:
    from scipy.stats import spearmanr

    return float(np.nan_to_num(spearmanr(points.iloc[:, 0], points.iloc[:, 1]).statistic)) if len(points) > 2 else 0.0


def _short(text: str, most: int = 34) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _plain(axes: Any) -> None:
    axes.tick_params(labelsize=7, colors=MUTED)
    axes.spines[["top", "right"]].set_visible(False)
