"""Which steps of a training are sampled."""

from __future__ import annotations

DENSE = 5
"""First steps, all of which are sampled: in them a training breaks that breaks at once."""
FIRST, LAST = 10, 50
"""Steps from one sampled to the next, at first and at last: it costs up to 40 %, spread over 50 below 1 % (ADR 13)."""
SPARSER = 50
"""The step at which the distance doubles first; then it does each time the steps have doubled."""
NEVER = 1_000_000_000
"""An `every` beyond the steps of any training: the first steps alone are sampled."""


class Pace:
    """Samples the first 5 steps, and from then on every `every`-th.

    Left out, `every` grows with the training, so that a long one costs no more: 10 up to step 50, 20 up to step 100, 40
    up to step 200, 50 after it.
    """

    def __init__(self, every: int | None = None) -> None:
        self.every = every

    def samples(self, step: int) -> bool:
        """Whether this step, counted from 1, is one to sample."""
        return step <= DENSE or step % (self.every or _distance(step)) == 0


def _distance(step: int) -> int:
    distance, end = FIRST, SPARSER
    while step > end and distance < LAST:
        distance, end = 2 * distance, 2 * end
    return min(distance, LAST)
