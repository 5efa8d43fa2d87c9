"""A map of the training rows: near on it are rows that are alike, coloured by label."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from firstfault.check import Depth, Judgement, check, skipped
from firstfault.checks.data._out_of_fold import indicators, out_of_fold, sampled
from firstfault.checks.data._pictures import ALARM, INK, MUTED, figure, save
from firstfault.checks.data.suspects import suspects
from firstfault.data.splits import to_array
from firstfault.finding import Layer, Status
from firstfault.subject.subject import Subject
from firstfault.texts import as_text

Array = np.ndarray[Any, Any]

PICTURE = "embedding_map.png"
FEWEST = 30  # with fewer points a map shows nothing that a table doesn't
DRAWN = 1_500  # points that can still be told apart
NAMED = 10  # as many as there are colours


@check(layer=Layer.DATA, needs={"raw"}, detects={}, depth=Depth.STANDARD)
def embedding_map(subject: Subject) -> Iterator[Judgement]:
    """Draw the training rows as a map, coloured by label.

    Measures: the share of the variance that the map shows, 0–1. `embedding_map.png` shows at most 1,500 rows by the
        first two principal components of standardised numbers and indicators of categories, and rings the rows of a
        suspect label.
    Fails when: never. It judges nothing.
    Source: Pearson 1901, principal components.
    """
    y = to_array(subject.raw.train.y)
    rows = sampled(len(y), DRAWN)
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    inputs = indicators(subject.raw.train.X, rows) if len(rows) >= FEWEST and y.ndim == 1 else None
    if inputs is None or inputs.shape[1] < 2:
        yield skipped(f"only rows of 2 to 1,024 numbers with one label each are drawn, at least {FEWEST} of them")
        return
    points, shown = _projected(inputs)
    name = _draw(subject, points, rows, pd.Series(y[rows]), shown)
    yield Judgement(
        Status.PASS,
        f"a map of {len(rows)} training rows shows {shown:.0%} of their variance",
        value=shown,
        artifacts=(name,),
    )


def _projected(inputs: Array) -> tuple[Array, float]:
    """Places `(N, 2)` by the first two components of standardised inputs, and their share of the variance."""
    from sklearn.decomposition import PCA

    deviation = inputs.std(0)
    scaled = ((inputs - inputs.mean(0)) / np.where(deviation > 1e-12, deviation, 1.0)).clip(-6, 6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = PCA(2, svd_solver="randomized" if inputs.shape[1] > 50 else "auto", random_state=0)
        points = model.fit_transform(scaled)
    return points, float(np.nan_to_num(model.explained_variance_ratio_.sum()))


def _draw(subject: Subject, points: Array, rows: Array, y: pd.Series, shown: float) -> str:
    made = figure(8.4, 5.6)
    axes = made.subplots()
    if subject.target.task == "classification":
        _by_class(axes, points, y)
    else:
        _by_value(made, axes, points, y)
    ringed = _suspect(subject, rows)
    if ringed.any():
        axes.scatter(
            *points[ringed].T, s=52, facecolors="none", edgecolors=ALARM, linewidths=1.0, label="suspect label"
        )
    handles, _ = axes.get_legend_handles_labels()
    if handles:
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=8)
    axes.set_title(f"{len(rows)} training rows, {shown:.0%} of their variance", loc="left", fontsize=10, color=INK)
    axes.set_xlabel("first principal component", color=MUTED, fontsize=8)
    axes.set_ylabel("second principal component", color=MUTED, fontsize=8)
    axes.tick_params(labelsize=7, colors=MUTED)
    axes.spines[["top", "right"]].set_visible(False)
    return save(made, subject.folder, PICTURE)


def _by_class(axes: Any, points: Array, y: pd.Series) -> None:
    from firstfault.data.privacy.masking import masked_text

    text = as_text(y)
    common = list(text.value_counts().index[:NAMED])
    common = (
        sorted(common, key=lambda value: (len(value), value)) if pd.api.types.is_numeric_dtype(y) else sorted(common)
    )
    for place, value in enumerate(common):
        inside = (text == value).to_numpy()
        axes.scatter(*points[inside].T, s=9, alpha=0.7, linewidths=0, color=f"C{place}", label=masked_text(value)[:24])
    others = ~text.isin(common).to_numpy()
    if others.any():
        axes.scatter(*points[others].T, s=9, alpha=0.4, linewidths=0, color="#bbbbbb", label="other classes")


def _by_value(made: Any, axes: Any, points: Array, y: pd.Series) -> None:
    values = pd.to_numeric(y, errors="coerce").to_numpy(dtype=float)
    drawn = axes.scatter(*points.T, s=9, c=values, cmap="viridis", linewidths=0, alpha=0.8)
    bar = made.colorbar(drawn, ax=axes, shrink=0.7)
    bar.ax.tick_params(labelsize=7, colors=MUTED)
    bar.set_label("label", fontsize=8, color=MUTED)


def _suspect(subject: Subject, rows: Array) -> Array:
    """Which of the drawn rows have a suspect label `(N,)`."""
    found = out_of_fold(subject)
    if found is None:
        return np.zeros(len(rows), bool)
    return np.asarray(np.isin(rows, found.rows[suspects(subject)[0]]))
