"""A map of the training rows: near on it are rows that are alike, coloured by label."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from firstfault.charts.files import write_picture
from firstfault.charts.heat import Shading
from firstfault.charts.scatter import Group, Point, by_value, scatter, value_key
from firstfault.charts.svg import Part, grid, key, whole
from firstfault.check import Depth, Judgement, check, skipped
from firstfault.checks.data._out_of_fold import indicators, out_of_fold, sampled
from firstfault.checks.data.suspects import suspects
from firstfault.data.splits import to_array
from firstfault.finding import Layer, Status
from firstfault.subject.subject import Subject
from firstfault.texts import as_text

Array = np.ndarray[Any, Any]

PICTURE = "embedding_map.svg"
FEWEST = 30  # with fewer points a map shows nothing that a table doesn't
DRAWN = 1_500  # points that can still be told apart
NAMED = 10  # as many as there are colours
SIZE = (600.0, 440.0)  # pixels of the picture


@check(layer=Layer.DATA, needs={"raw"}, detects={}, depth=Depth.STANDARD)
def embedding_map(subject: Subject) -> Iterator[Judgement]:
    """Draw the training rows as a map, coloured by label.

    Measures: the share of the variance that the map shows, 0–1. `embedding_map.svg` shows at most 1,500 rows by the
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
    places: list[Point] = list(map(tuple, points.tolist()))
    groups, legend = _by_class(places, y) if subject.target.task == "classification" else _by_value(places, y)
    ringed = [place for place, suspect in zip(places, _suspect(subject, rows), strict=True) if suspect]
    drawn = scatter(
        "", groups, x_label="first principal component", y_label="second principal component", size=SIZE, ringed=ringed
    )
    beside = grid([legend, key([("rings", "suspect label")], 200)], 1, 4) if ringed else legend
    title = f"{len(rows)} training rows, {shown:.0%} of their variance"
    return write_picture(subject.folder, PICTURE, whole(title, grid([drawn, beside], 2)))


def _by_class(points: list[Point], y: pd.Series) -> tuple[list[Group], Part]:
    """The commonest classes in a colour each, the others in grey; and which is which."""
    from firstfault.data.privacy.masking import masked_text

    text = as_text(y)
    common = list(text.value_counts().index[:NAMED])
    numeric = pd.api.types.is_numeric_dtype(y)
    common.sort(key=lambda value: (len(value), value) if numeric else value)
    named = [(masked_text(value)[:24], (text == value).tolist()) for value in common]
    groups = [Group(name, _those(points, inside), f"c{place}") for place, (name, inside) in enumerate(named)]
    others = _those(points, (~text.isin(common)).tolist())
    drawn = [*([Group("other classes", others, "other")] if others else []), *groups]
    entries = [key([(group.style, group.name)], 200) for group in [*groups, *drawn[: len(drawn) - len(groups)]]]
    return drawn, grid(entries, 1, 2)


def _those(points: list[Point], inside: list[bool]) -> list[Point]:
    return [point for point, kept in zip(points, inside, strict=True) if kept]


def _by_value(points: list[Point], y: pd.Series) -> tuple[list[Group], Part]:
    """The points by the shade of their label, between its extreme hundredths; and the shades."""
    values = pd.to_numeric(y, errors="coerce").to_numpy(dtype=float)
    finite = values[np.isfinite(values)]
    low, high = np.quantile(finite, [0.01, 0.99]).tolist() if len(finite) else (0.0, 1.0)
    shades = Shading(low, high, kind="v")
    return by_value(points, values.tolist(), shades), value_key(shades, "label")


def _suspect(subject: Subject, rows: Array) -> Array:
    """Which of the drawn rows have a suspect label `(N,)`."""
    found = out_of_fold(subject)
    if found is None:
        return np.zeros(len(rows), bool)
    return np.asarray(np.isin(rows, found.rows[suspects(subject)[0]]))
