"""What was measured of a rollout, as coins: at which request one falls, and whether it shows the challenger."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from firstfault.metrics import Array

FIRST = 64
"""Before so many values there is no threshold; it is moved whenever the values have doubled."""


@dataclass(frozen=True)
class Tosses:
    """Coins in the order in which they fell: heads is the challenger's bad event.

    Attributes:
        at: after how many requests each fell `(N,)`.
        challenger: whether it was the challenger's `(N,)`.
    """

    at: Array
    challenger: Array

    @property
    def heads(self) -> Array:
        """The challenger's bad events up to each coin."""
        return np.cumsum(self.challenger)

    @property
    def count(self) -> Array:
        """The coins up to each."""
        return np.arange(1, len(self.at) + 1)


def tosses_of(champion_bad: Array, challenger_bad: Array, units: Array | None = None) -> Tosses:
    """Of requests `(N,)`: every one that went badly on one side alone is a coin.

    Where an arm was drawn for several requests at once, by a user or for all attempts of a client, the first that went
    badly of each of these `units` `(N,)` is the coin: the others fall as it did.
    """
    at = np.flatnonzero(champion_bad != challenger_bad)
    if units is not None:
        at = at[firsts(units[at])]
    return Tosses(at + 1, challenger_bad[at].astype(int))


def firsts(units: Array) -> Array:
    """The places at which each unit comes first."""
    return np.sort(np.unique(units, return_index=True)[1])


def thresholds(values: Array, quantile: float) -> Array:
    """A quantile of the values before each `(N,)`, by what is known before it; NaN for the first.

    A threshold that depends on nothing later leaves a test of equal arms exact, whatever it is.
    """
    found = np.full(len(values), np.nan)
    known = FIRST
    while known < len(values):
        found[known : 2 * known] = np.quantile(values[:known], quantile)
        known *= 2
    return found


def beyond(values: Array, quantile: float, *, above: bool) -> Array:
    """Which values `(N,)` lie beyond the quantile of those before them; none of the first do, and none that is NaN."""
    known = ~np.isnan(values)
    limit = np.full(len(values), np.nan)
    limit[known] = thresholds(values[known], quantile)
    with np.errstate(invalid="ignore"):
        return values > limit if above else values < limit
