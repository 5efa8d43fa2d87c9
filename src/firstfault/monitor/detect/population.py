"""Whether a column moves alone, or with its population: a broken feed moves by itself, other customers move together.

When requests are selected by a column (a promotion for the young), every other column moves as its correlation with
that one says: Δk = r_kj Δj. When the column alone is broken, the others stay. Where it hangs together with no other
column, nobody can tell.
"""

from __future__ import annotations

import numpy as np

from firstfault.metrics import Array

REMEMBERED = 4_000
"""Requests, more than an incident takes to be found."""
SURE = 3.0
"""Standard errors by which both cases must be apart before anything is said."""
HALF = 0.5
"""Others that move by half of what a selection would move them speak for one."""
FEWEST = 24
"""Three blocks of evidence; of fewer, means say little."""


class Population:
    """What the columns of a reference `(n, D)` usually are, and how they hang together."""

    def __init__(self, features: Array) -> None:
        self._middle = np.nan_to_num(np.nanmean(features, axis=0))
        self._spread = np.nan_to_num(np.nanstd(features, axis=0)) + 1e-9
        x = self._scaled(features)
        x = x - x.mean(0)
        x = x / np.maximum(np.sqrt((x**2).sum(0)), 1e-9)
        self._together = x.T @ x
        self._times, self._rows = np.zeros(0), np.zeros((0, x.shape[1]))

    def _scaled(self, features: Array) -> Array:
        return np.clip(np.nan_to_num((features - self._middle) / self._spread), -10, 10)

    def add(self, times: Array, features: Array) -> None:
        """Take the requests that come now."""
        self._times = np.concatenate([self._times, times])[-REMEMBERED:]
        self._rows = np.concatenate([self._rows, self._scaled(features)])[-REMEMBERED:]

    def moves_with(self, column: int, began: float, now: float) -> bool:
        """Whether the others moved as they do when requests are selected by that column."""
        rows = self._rows[(self._times >= began) & (self._times <= now)]
        if len(rows) < FEWEST:
            return False
        moved = rows.mean(0)
        wanted = np.delete(self._together[column] * moved[column], column)
        apart = float(np.sqrt(len(rows) * (wanted**2).sum()))  # in standard errors
        if apart < SURE:
            return False
        accord = float(wanted @ np.delete(moved, column) / (wanted**2).sum())
        return accord >= HALF
