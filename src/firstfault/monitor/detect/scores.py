"""Whether inputs get the answers that they usually get. Needs the sample.

Where inputs explain the answers, a score is looked at beside what its input would usually get, and by its distance from
that; several scores by their distance alone, and a class by how surprising it is for its input; else a score is looked
at by itself. Distance, surprise and confidence are compared with those of the same class: a promotion brings more of
one class, and that is nobody's incident.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from firstfault.metrics import Array
from firstfault.monitor.detect.answers import ANSWER, CONFIDENCE, SCORE, Scores
from firstfault.monitor.detect.batch import Batch
from firstfault.monitor.detect.bets import rank_bets
from firstfault.monitor.detect.dependence import EXPLAINS, Dependence
from firstfault.monitor.detect.monitor import RankMonitor, enough, ranks_in, sorted_known
from firstfault.monitor.detect.season import season_of
from firstfault.monitor.detect.surrogate import Usually

FEWEST, FEWEST_OF_A_CLASS = 200, 40
"""For ten values in each bin at the ends; for ranks within a class to a few points."""
MATERIAL = 0.1
"""Of its own deviation, so much may a score be off from what its input would usually get."""
UNEXPLAINED = 0.15
"""Deviations that a score may be off by in addition, where inputs explain nothing of it: populations move."""
FARTHER = 0.05
"""The same of a distance, which is measured by how far such inputs usually are."""
SURPRISE, DISTANCE = "surprise", "distance"
LEAST_CHANCE = 0.02
"""A surrogate knows no smaller one."""
UP = (SURPRISE, DISTANCE)
"""Columns of which only more is worse."""
FAR_OUT = "{{far:.0%}} of the answers are {} than 95% of the usual ones of their class are, where {{few:.0%}} is usual"
WITHIN_CLASS = {
    SURPRISE: FAR_OUT.format("less to be expected of such inputs"),
    DISTANCE: FAR_OUT.format("further from what such inputs usually get"),
    CONFIDENCE: "the confidence is above {now:.0%} of the usual ones of its class, where {usual:.0%} is usual",
}
"""What is looked at as a rank among the answers of one class, and what is said of it."""


def scores(reference: Batch, looked_at: Scores, known: Dependence, shift: float, seasonal: bool) -> RankMonitor | None:
    """The monitor of the scores; None where no answer can be read."""
    sample = reference.part(reference.uniform)
    eye = _Eye(looked_at, known)
    values = eye.of(sample, _usually(sample, looked_at, known))
    places = [place for place in range(values.shape[1]) if enough(values[:, place], FEWEST)]
    if not places:
        return None
    ranks = {place: _Ranks(values[:, place], sample) for place in places if eye.names[place] in WITHIN_CLASS}

    def within(batch: Batch, found: Array) -> Array:
        columns = [ranks[place].of(batch, found[:, place]) if place in ranks else found[:, place] for place in places]
        return np.stack(columns, axis=1)

    def seen(batch: Batch) -> Array:
        found = within(batch, eye.of(batch, known.usually(batch.features)))
        found[~batch.champions] = np.nan
        return found

    usual = within(sample, values)
    ordered = tuple(sorted_known(column) for column in usual.T)
    sides = ["up" if eye.names[place] in UP else "both" for place in places]
    allowed = [shift + eye.allowed(place) for place in places]
    bets = tuple(rank_bets(len(o), a, side) for o, a, side in zip(ordered, allowed, sides, strict=True))
    seasons = tuple(season_of(_normal(column, o), sample.hours) for column, o in zip(usual.T, ordered, strict=True))
    names = tuple(eye.names[place] for place in places)
    return RankMonitor(
        "scores", 3.0, names, seen, ordered, bets, seasons if seasonal else (), _words(known), WITHIN_CLASS
    )


@dataclass(frozen=True)
class _Eye:
    """What is looked at in an answer: a score, its distance from what is usual, the surprise of a class."""

    looked_at: Scores
    known: Dependence

    @property
    def plain(self) -> list[int]:
        """The scores that are looked at by themselves."""
        return [place for place, name in enumerate(self.looked_at.names) if not name.startswith((ANSWER, SCORE))]

    @property
    def together(self) -> list[int]:
        """The scores whose distance from what is usual is looked at, where inputs explain them."""
        found = self._explained(SCORE)
        alone = [place for place in self.plain if self.known.explains(place) >= EXPLAINS]
        return found or [place for place in alone if self.looked_at.names[place] != CONFIDENCE]

    @property
    def classes(self) -> list[int]:
        """The scores that are classes, where inputs explain them."""
        return self._explained(ANSWER)

    def _explained(self, kind: str) -> list[int]:
        found = [place for place, name in enumerate(self.looked_at.names) if name.startswith(kind)]
        return found if found and np.mean([self.known.explains(place) for place in found]) >= EXPLAINS else []

    @property
    def names(self) -> list[str]:
        """Of the columns that are looked at."""
        plain = [self.looked_at.names[place] for place in self.plain]
        return plain + [DISTANCE] * bool(self.together) + [SURPRISE] * bool(self.classes)

    def allowed(self, column: int) -> float:
        """By how many deviations of what is left a column may be off."""
        if self.names[column] in UP:
            return FARTHER if self.names[column] == DISTANCE else UNEXPLAINED
        left = 1 - self.known.explains(self.plain[column])
        return UNEXPLAINED * left + (MATERIAL / max(left, 0.01) ** 0.5 if left < 1 else 0.0)

    def of(self, batch: Batch, usually: Usually | None) -> Array:
        """The columns `(N, C)`, given what inputs would usually get."""
        scores = self.looked_at.look(batch)
        left = scores if usually is None else scores - usually.expected
        columns = [left[:, place] for place in self.plain]
        if self.together and usually is not None:
            columns.append(self._distance(batch, left / usually.spread))
        if self.classes and usually is not None:
            columns.append(self._surprise(batch, usually.expected))
        return np.stack(columns, axis=1) if columns else np.zeros((len(batch), 0))

    def _distance(self, batch: Batch, left: Array) -> Array:
        """How far scores are from what is usual; NaN for a category of which nobody knows what is."""
        found = np.asarray((left[:, self.together] ** 2).mean(1) ** 0.5)
        for column in batch.schema.categories:
            if column.name in self.known.fields:
                found[batch.unknown(column)] = np.nan
        return found

    def _surprise(self, batch: Batch, expected: Array) -> Array:
        """How little a class was to be expected of its input, in nats."""
        at = {self.looked_at.names[place].removeprefix(ANSWER): place for place in self.classes}
        found = np.full(len(batch), np.nan)
        for row, name in enumerate(batch.classes):
            if name is not None and name in at:
                found[row] = -np.log(np.clip(expected[row, at[name]], LEAST_CHANCE, 1.0))
        return found


class _Ranks:
    """The rank of a value among those of the reference that got the same class."""

    def __init__(self, values: Array, sample: Batch) -> None:
        classes = _classes(sample)
        self._all = sorted_known(values)
        self._of = {
            name: ordered
            for name in set(classes)
            if len(ordered := sorted_known(values[classes == name])) >= FEWEST_OF_A_CLASS
        }

    def of(self, batch: Batch, values: Array) -> Array:
        """The ranks `(N,)` in 0–1."""
        classes, found = _classes(batch), np.full(len(batch), np.nan)
        for name in set(classes):
            which = classes == name
            found[which] = ranks_in(self._of.get(name, self._all), values[which], batch.draws[which])
        return found


def _classes(batch: Batch) -> Array:
    return np.array([name or "" for name in batch.classes], dtype=object)


def _usually(sample: Batch, looked_at: Scores, known: Dependence) -> Usually | None:
    """What the inputs of the reference itself would usually get: by what has not seen them."""
    found = known.usually(sample.features)
    if found is None or known.surrogate is None:
        return None
    values, expected, spread = looked_at.look(sample), *map(np.array, found)
    places = np.flatnonzero(~np.isnan(values).any(1))[-len(known.surrogate.left) :]
    expected[places] = values[places] - known.surrogate.left
    spread[places] = known.surrogate.spread
    return Usually(expected, spread)


def _normal(values: Array, ordered: Array) -> Array:
    return np.asarray(ndtri(ranks_in(ordered, values, np.full(len(values), 0.5))))


def _words(known: Dependence) -> str:
    beside = "" if known.surrogate is None else " beside what such inputs usually get"
    return f"{{place}}{beside} is {{now:+.3g}}, where {{usual:+.3g}} is usual"
