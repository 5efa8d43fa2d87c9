"""A monitor: what it looks at in each request, what is usual, and how it bets against that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from scipy.special import ndtr, ndtri

from firstfault.metrics import Array
from firstfault.monitor.detect.batch import Batch
from firstfault.monitor.detect.bets import CoinBets, MeanBets, RankBets
from firstfault.monitor.detect.season import Season

Look = Callable[[Batch], Array]
"""What a monitor sees of N requests: `(N, C)`, NaN where it says nothing."""


FAR = 0.95
"""A value above so many of the usual ones is told as far out: one usual request in twenty is."""


class Monitor(Protocol):
    """A few numbers of each request, C columns of them, and bets on each."""

    @property
    def name(self) -> str:
        """What it is called; several may have one name."""

    @property
    def weight(self) -> float:
        """Its part of the evidence of all, before these are scaled to 1."""

    @property
    def places(self) -> tuple[str, ...]:
        """What each column is about: a field, a stage, a kind of event."""

    @property
    def counts(self) -> list[int]:
        """The number of bets on each column."""

    @property
    def slack(self) -> Array:
        """The logarithms of what each bet's factors were divided by, for all that is near to usual `(sum(counts),)`."""

    def look(self, batch: Batch) -> Array:
        """What it sees `(N, C)`."""

    def bet(self, batch: Batch, seen: Array) -> Array:
        """The logarithms of all bets' factors `(N, sum(counts))`."""

    def says(self, column: int, seen: Array) -> str:
        """What was seen in a column, of the requests `(n,)` that show it."""


class Bets(Protocol):
    """Several bets on one column."""

    @property
    def count(self) -> int:
        """The number of bets."""

    @property
    def slack(self) -> Array:
        """What each bet's factors were divided by."""


class _ByColumn:
    """A monitor with bets of their own on each column."""

    bets: Sequence[Bets]

    @property
    def counts(self) -> list[int]:
        """The number of bets on each column."""
        return [bets.count for bets in self.bets]

    @property
    def slack(self) -> Array:
        """What each bet's factors were divided by."""
        return np.concatenate([bets.slack for bets in self.bets])


@dataclass(frozen=True)
class RankMonitor(_ByColumn):
    """Bets on the ranks of numbers in the reference."""

    name: str
    weight: float
    places: tuple[str, ...]
    seen: Look
    reference: tuple[Array, ...]
    """The usual values of each column, in their order."""
    bets: tuple[RankBets, ...]
    seasons: tuple[Season, ...] = ()
    words: str = "{place} is {now:.4g} where {usual:.4g} is usual"
    own_words: Mapping[str, str] = field(default_factory=dict)
    """What is said of columns whose numbers tell nobody anything."""

    def look(self, batch: Batch) -> Array:
        """What it sees; nothing of requests outside of the uniform sample."""
        found = np.array(self.seen(batch), dtype=float)
        found[~batch.uniform] = np.nan
        return found

    def bet(self, batch: Batch, seen: Array) -> Array:
        """The logarithms of all bets' factors."""
        return np.concatenate([self._bet(column, batch, seen[:, column]) for column in range(len(self.bets))], axis=1)

    def _bet(self, column: int, batch: Batch, values: Array) -> Array:
        ranks = ranks_in(self.reference[column], values, batch.draws)
        if self.seasons:
            ranks = ndtr(ndtri(ranks) - self.seasons[column].of(batch.hours))
        return self.bets[column].of(ranks)

    def says(self, column: int, seen: Array) -> str:
        """The median now and usually, or the mean where that differs more."""
        reference = self.reference[column]
        pairs = [(float(middle(seen)), float(middle(reference))) for middle in (np.median, np.mean)]
        now, usual = max(pairs, key=lambda pair: abs(pair[0] - pair[1]))
        place, bound = self.places[column], np.quantile(reference, FAR)
        far, few = (float((values > bound).mean()) for values in (seen, reference))
        words = self.own_words.get(place, self.words)
        return words.format(place=place, now=now, usual=usual, far=far, few=few)


def ranks_in(reference: Array, values: Array, draws: Array) -> Array:
    """The ranks `(N,)` of values in a sorted reference, within (0, 1); among equal ones, by lot."""
    below = np.searchsorted(reference, values, side="left")
    equal = reference[np.minimum(below, len(reference) - 1)] == values
    up_to = np.searchsorted(reference, values, side="right") if equal.any() else below
    ranks = (below + draws * (up_to - below + 1)) / (len(reference) + 1)
    ranks = np.clip(ranks, 1e-6, 1 - 1e-6)
    return np.where(np.isnan(values), np.nan, ranks)


@dataclass(frozen=True)
class CoinMonitor(_ByColumn):
    """Bets on how often something happens."""

    name: str
    weight: float
    places: tuple[str, ...]
    seen: Look
    bets: tuple[CoinBets, ...]
    kept: bool = False
    """Whether every request to which it happens is kept; else the uniform sample alone counts."""
    seasons: tuple[Season, ...] = ()
    words: str = "{place}: {now:.1%} of the requests where {usual:.1%} are usual"

    def look(self, batch: Batch) -> Array:
        """What happened; nothing of requests that are kept for other reasons."""
        found = np.array(self.seen(batch), dtype=float)
        outside = ~batch.uniform[:, None] & ((found < 1) if self.kept else np.ones_like(found, dtype=bool))
        found[outside] = np.nan
        return found

    def bet(self, batch: Batch, seen: Array) -> Array:
        """The logarithms of all bets' factors."""
        share = batch.share if self.kept else 1.0
        found = []
        for column, bets in enumerate(self.bets):
            season = self.seasons[column].of(batch.hours) if self.seasons else None
            found.append(bets.of(seen[:, column], share, season))
        return np.concatenate(found, axis=1)

    def says(self, column: int, seen: Array) -> str:
        """The rate now and usually."""
        return self.words.format(place=self.places[column], now=float(np.nanmean(seen)), usual=self.bets[column].usual)


@dataclass(frozen=True)
class MeanMonitor:
    """Bets that the mean of a value in 0–1 is lower than usual."""

    name: str
    weight: float
    places: tuple[str, ...]
    seen: Look
    bets: MeanBets
    usual: float
    words: str

    @property
    def counts(self) -> list[int]:
        """The number of bets."""
        return [self.bets.count]

    @property
    def slack(self) -> Array:
        """Nothing is divided."""
        return self.bets.slack

    def look(self, batch: Batch) -> Array:
        """What it sees; nothing of requests outside of the uniform sample."""
        found = np.array(self.seen(batch), dtype=float)
        found[~batch.uniform] = np.nan
        return found

    def bet(self, batch: Batch, seen: Array) -> Array:
        """The logarithms of all bets' factors."""
        return self.bets.of(seen[:, 0])

    def says(self, column: int, seen: Array) -> str:
        """The mean now and usually."""
        return self.words.format(place=self.places[column], now=float(np.nanmean(seen)), usual=self.usual)


def sorted_known(values: Array) -> Array:
    """The known values of a column, in their order."""
    return np.sort(values[~np.isnan(values)])


def enough(values: Array, least: int) -> bool:
    """Whether so many values are known."""
    return int((~np.isnan(values)).sum()) >= least


def told(places: Sequence[str], most: int = 3) -> str:
    """A few names in a sentence."""
    return ", ".join(places[:most]) + (f" and {len(places) - most} more" if len(places) > most else "")
