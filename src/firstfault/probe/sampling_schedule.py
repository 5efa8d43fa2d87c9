"""Which steps of a training are sampled, and which are timed."""

from __future__ import annotations

from firstfault.probe.budget import Budget

DENSE = 5
"""First steps, all of which are sampled: in them a training breaks that breaks at once."""
FIRST, LAST = 10, 50
"""Steps from one sampled to the next, at first and at last, where the budget has them (ADR 13, ADR 47)."""
SPARSER = 50
"""The step at which the distance doubles first; then it does each time the steps have doubled."""
UNASKED = 200
"""Up to this step, from which on the distance is the last, no budget is asked: 16 steps, the same in every run."""
NEVER = 1_000_000_000
"""An `every` beyond the steps of any training: the first steps alone are sampled."""
ALL_TIMED = 50
"""First steps, all of which are timed: as many as the rule of outliers asks for."""
TIMED = 7
"""One in so many later steps is timed: reading the clocks of a step takes as long as all else that a plain one does."""
SCATTER, RANGE = 2_654_435_761, 2**32
"""Knuth's multiplicative hash: the timed steps fall into no rhythm of the loop, such as a validation every 70 steps."""


class Pace:
    """Samples the first 5 steps, and from then on every `every`-th.

    Left out, `every` grows with the training: 10 up to step 50, 20 up to step 100, 40 up to step 200, 50 after it. Then
    a step that the budget does not have is passed over, until the next one.
    """

    def __init__(self, every: int | None = None, budget: Budget | None = None) -> None:
        self.every, self._budget = every, budget if every is None else None

    def samples(self, step: int) -> bool:
        """Whether this step, counted from 1, is one to sample."""
        if step <= DENSE:
            return True
        if step % (self.every or _distance(step)):
            return False
        return self._budget is None or step <= UNASKED or self._budget.has_one_more(step)


def timed(step: int) -> int:
    """For how many steps the time of this one stands; 0 where it is not taken."""
    if step <= ALL_TIMED:
        return 1
    return TIMED if step * SCATTER % RANGE < RANGE // TIMED else 0


def _distance(step: int) -> int:
    distance, end = FIRST, SPARSER
    while step > end and distance < LAST:
        distance, end = 2 * distance, 2 * end
    return min(distance, LAST)
