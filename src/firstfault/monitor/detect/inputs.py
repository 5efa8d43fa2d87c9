"""Whether an input's columns still go together: each one beside what the others say of it. Needs the sample.

Only columns on which the answers depend are looked at, and only where they are known to: drift of a column that the
model ignores is nobody's incident. What categories come how often is not looked at: a promotion brings other customers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from firstfault.metrics import Array
from firstfault.monitor.detect.batch import Batch
from firstfault.monitor.detect.bets import rank_bets
from firstfault.monitor.detect.dependence import Dependence, residuals
from firstfault.monitor.detect.monitor import RankMonitor, enough, sorted_known
from firstfault.monitor.detect.population import Population

FEWEST = 200
"""Values of a column, for ten in each bin at its ends."""
MOVES = 1e-9


@dataclass(frozen=True)
class InputMonitor(RankMonitor):
    """The monitor of the columns, which knows whether one moves with its population."""

    population: Population | None = None

    def moves_with_population(self, column: int, began: float, now: float) -> bool:
        """Whether the other columns moved as they do when requests are selected by that one."""
        return self.population is not None and self.population.moves_with(column, began, now)


def inputs(reference: Batch, known: Dependence, shift: float) -> InputMonitor | None:
    """The monitor of the columns; None where no column is known to matter."""
    if known.surrogate is None:
        return None
    sample = reference.part(reference.uniform)
    names = sample.schema.numbers
    watched = [
        place
        for place, name in enumerate(names)
        if known.columns[place]
        and enough(sample.numbers[:, place], FEWEST)
        and np.nanstd(sample.numbers[:, place]) > MOVES
    ]
    if not watched:
        return None
    others = [place for place in np.flatnonzero(known.columns) if place not in watched]
    order = np.array([*watched, *others])
    own, left = residuals(sample.features[:, order])
    count = len(watched)

    population = Population(sample.features[:, order])

    def seen(batch: Batch) -> Array:
        features = batch.features[:, order]
        population.add(batch.times, features)
        found = left(features)[:, :count]
        return np.asarray(np.where(np.isnan(batch.numbers[:, watched]), np.nan, found))

    columns = [own[~np.isnan(sample.numbers[:, place]), at] for at, place in enumerate(watched)]
    ordered = tuple(sorted_known(column) for column in columns)
    bets = tuple(rank_bets(len(column), shift) for column in ordered)
    words = "{place} is {now:+.2f} deviations from what the other columns say of it, where {usual:+.2f} is usual"
    places = tuple(names[place] for place in watched)
    return InputMonitor("inputs", 3.0, places, seen, ordered, bets, words=words, population=population)
