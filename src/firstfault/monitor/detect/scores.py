"""Whether inputs get the answers that they usually get. Needs the sample.

Where inputs explain the answers, a score is looked at beside what its input would usually get; else by itself.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from firstfault.metrics import Array
from firstfault.monitor.detect.answers import Scores
from firstfault.monitor.detect.batch import Batch
from firstfault.monitor.detect.bets import rank_bets
from firstfault.monitor.detect.dependence import Dependence
from firstfault.monitor.detect.monitor import RankMonitor, enough, ranks_in, sorted_known
from firstfault.monitor.detect.season import season_of

FEWEST = 200
UNEXPLAINED = 0.15
"""Deviations that a score may be off by in addition, where inputs explain nothing of it: populations move."""


def scores(reference: Batch, looked_at: Scores, known: Dependence, shift: float, seasonal: bool) -> RankMonitor | None:
    """The monitor of the scores; None where no answer can be read."""
    sample = reference.part(reference.uniform)
    values = looked_at.look(sample)
    columns = [place for place in range(values.shape[1]) if enough(values[:, place], FEWEST)]
    if not columns:
        return None

    def seen(batch: Batch) -> Array:
        found, expected = looked_at.look(batch), known.expected(batch.features)
        found = found if expected is None else found - expected
        found[~batch.champions] = np.nan
        return np.asarray(found[:, columns])

    usual = _left(sample, values, known)[:, columns]
    ordered = tuple(sorted_known(column) for column in usual.T)
    allowed = [shift + UNEXPLAINED * (1 - known.explains(place)) for place in columns]
    bets = tuple(rank_bets(len(column), each) for column, each in zip(ordered, allowed, strict=True))
    words = "{place} is {now:+.3g} where {usual:+.3g} is usual"
    if known.surrogate is not None:
        words = "{place} is {now:+.3g} from what such inputs usually get, where {usual:+.3g} is usual"
    seasons = tuple(season_of(_normal(column, ordered[at]), sample.hours) for at, column in enumerate(usual.T))
    names = tuple(looked_at.names[place] for place in columns)
    return RankMonitor("scores", 3.0, names, seen, ordered, bets, seasons if seasonal else (), words)


def _left(sample: Batch, values: Array, known: Dependence) -> Array:
    """What the surrogate leaves of the reference's own scores: of rows that it learned from, out of the bag."""
    if known.surrogate is None:
        return values
    left = np.full_like(values, np.nan)
    places = np.flatnonzero(~np.isnan(values).any(1))[-len(known.surrogate.left) :]
    left[places] = known.surrogate.left
    return left


def _normal(values: Array, ordered: Array) -> Array:
    return np.asarray(ndtri(ranks_in(ordered, values, np.full(len(values), 0.5))))
