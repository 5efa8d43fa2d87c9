"""An incident's first fault undone, as a page shows it: its columns and the answers, before, now, and put right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from markupsafe import Markup

from firstfault.ablation.replay.columns import scores_put_back
from firstfault.charts.bars import Series, bins_of, histograms, series_key, share_bars, shares_in
from firstfault.charts.svg import Part, grid, key, whole
from firstfault.checks.data._column_marks import ABSENT, Mark, put_back
from firstfault.checks.data._served_marks import marks_of
from firstfault.errors import Missing
from firstfault.finding import Layer
from firstfault.metrics import Array
from firstfault.subject.incident import incident
from firstfault.subject.raw_rows import rows_of
from firstfault.subject.replays import Side, replays
from firstfault.subject.subject import Subject
from firstfault.values import is_finite
from firstfault.verdict import Verdict

STYLES = ("other", "worse", "better")
"""Colours of the control, the incident, and the incident put right."""
MOST_COLUMNS, BINS, CATEGORIES = 4, 30, 10  # what stays legible
NUMBERS = 0.9
"""A column is drawn as one of numbers where so many of its values are."""
PANEL = (520.0, 230.0)


@dataclass(frozen=True)
class Undone:
    """What puts the first fault right: columns by their marks, else the offline truth in place of what served."""

    subject: Subject
    marks: tuple[Mark, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The fields that are put back; of one that was renamed, both names."""
        return tuple(dict.fromkeys(name for mark in self.marks for name in mark.column.split(" → ")))

    @property
    def title(self) -> str:
        """What is done, as the head of a column."""
        first = self.marks[0].column if self.marks else ""
        more = f" and {len(self.marks) - 1} more" if len(self.marks) > 1 else ""
        return f"with {first}{more} put back" if first else "offline"

    @cached_property
    def scores(self) -> Array:
        """What the offline truth gives to the incident's samples, put right; raises `Missing` where nobody knows."""
        side = replays(self.subject).incident
        return scores_put_back(side, self.marks) if self.marks else side.replayed

    @cached_property
    def answers(self) -> dict[tuple[str, int], object]:
        """The label of each sample, put right; empty where nobody knows."""
        try:
            side, scores = replays(self.subject).incident, self.scores
        except Missing:
            return {}
        known = np.asarray(np.isfinite(scores).all(1))
        labels = iter(side.truth.labels(scores[known]))
        return {
            (request.id, place): next(labels)
            for (request, place), is_known in zip(side.samples, known, strict=True)
            if is_known
        }


def undone_of(verdict: Verdict, subject: Subject) -> Undone:
    """The first fault of a verdict, undone."""
    first = verdict.faults[0] if verdict.faults else None
    if first is None or first.layer is not Layer.DATA:
        return Undone(subject, ())
    named = {name for place in first.where for name in place.names}
    marks = [mark for mark in marks_of(subject) if mark.fault == first.fault]
    return Undone(subject, tuple([mark for mark in marks if mark.column in named] or marks))


def column_pictures(undone: Undone) -> list[Markup]:
    """The columns at fault: in the control, in the incident, and put back."""
    seen, generator = incident(undone.subject), np.random.default_rng(0)
    raw = seen.requests.values("raw")
    rows = [
        rows_of(values)
        for values in (
            seen.control.values("raw"),
            raw,
            [put_back(value, undone.marks, generator) for value in raw if value is not None],
        )
    ]
    drawn = [_drawn(mark.column, [_values(side, mark.column) for side in rows]) for mark in undone.marks[:MOST_COLUMNS]]
    return [each for each in drawn if each is not None]


def _values(rows: Sequence[dict[str, Any]], column: str) -> list[Any]:
    """A column's values; of one that was renamed, under whichever of its names a row has it."""
    names = column.split(" → ")
    return [next((row[name] for name in names if name in row), ABSENT) for row in rows]


def _drawn(column: str, sides: Sequence[list[Any]]) -> Markup | None:
    numbers = [np.array([value for value in side if is_finite(value)], dtype=float) for side in sides]
    if all(len(some) >= NUMBERS * len(side) > 0 for some, side in zip(numbers, sides, strict=True)):
        edges = bins_of(np.concatenate(numbers), BINS)
        series = _series([shares_in(some, edges) for some in numbers], f"{column} put back")
        part = histograms("", list(edges), series, x_label="value", y_label="share of the requests", size=PANEL)
        return keyed(column, part, series)
    return _categories(column, [[_named(value) for value in side] for side in sides])


def _categories(column: str, sides: Sequence[list[str]]) -> Markup | None:
    counts = [Counter(side) for side in sides]
    names = [name for name, _ in (counts[0] + counts[1]).most_common(CATEGORIES)]
    if sum(counts[1][name] for name in names) < len(sides[1]) / 2:  # free text: no value says anything
        return None
    shares = [[count[name] / max(len(side), 1) for name in names] for count, side in zip(counts, sides, strict=True)]
    series = _series(shares, f"{column} put back")
    return keyed(column, share_bars("", names, series, x_label="share of the requests"), series)


def _named(value: Any) -> str:
    return "no such field" if value is ABSENT else "null" if value is None else str(value)


def class_picture(undone: Undone) -> Markup | None:
    """How often each class was answered: by the control, by the incident, and with the first fault undone."""
    try:
        both = replays(undone.subject)
        if both.truth.task != "classification":
            return None
        groups = (_said(both.control), _said(both.incident), undone.scores)
    except Missing:
        return None
    names = [str(name) for name in both.truth.classes][:CATEGORIES]
    series = _series([_class_shares(scores, len(names)) for scores in groups], undone.title)
    return keyed("Answers by class", share_bars("", names, series, x_label="share of the answers"), series)


def _said(side: Side) -> Array:
    """What was answered: the labels, or the scores where these alone were seen."""
    return side.said if np.isfinite(side.said).any() else side.served


def _class_shares(scores: Array, width: int) -> list[float]:
    known = scores[np.isfinite(scores).all(1) & (scores.min(1) >= 0)]
    counts = np.bincount(known.argmax(1), minlength=width)[:width] if len(known) else np.zeros(width)
    return [float(count / max(len(known), 1)) for count in counts]


def _series(values: Sequence[Sequence[float]], undone: str) -> list[Series]:
    names = ("control", "incident", f"incident, {undone}")
    return [Series(*each) for each in zip(names, values, STYLES, strict=True)]


def keyed(title: str, part: Part, series: Sequence[Series]) -> Markup:
    """A picture with the key of its colours below it."""
    return whole(title, grid([part, key(series_key(series), part.width)], 1, 8))
