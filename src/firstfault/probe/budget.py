"""What sampled steps may cost: the watch measures itself, and keeps to it."""

from __future__ import annotations

import math
import statistics
import time
from collections import deque
from collections.abc import Callable

ALLOWANCE = 0.030
"""Seconds of the processor that any training has for sampled steps: 3 % of one that takes a second, of the 5 % that
watching it may cost."""
SHARE = 0.01
"""Of the time of the loop, which comes on top: half of the 2 % that watching may cost; plain steps take the other."""
GROWTH = 1.5
"""When the steps have grown by half since the last sampled one, the next is due whatever it costs: no stretch of a
training goes unseen."""
RECENT = 15
"""Sampled steps whose median is what one costs: one in which the loop also validated, or saved its model, tells
nothing."""


class Budget:
    """Compares sampled steps with the plain ones between them, in seconds of the processor.

    The clock is read around sampled steps alone. What a plain step takes is the least mean of those between two sampled
    ones: other means hold a validation, or what else a loop does now and then.
    """

    def __init__(self, clock: Callable[[], float] = time.process_time) -> None:
        self._clock = clock
        self._began = self._mark = clock()
        self._last = self._count = 0
        self._sampled: deque[float] = deque(maxlen=RECENT)
        self._plain = math.inf

    def begins(self) -> None:
        """A step begins that will be sampled."""
        self._mark = self._clock()

    def ends(self, step: int) -> None:
        """A sampled step has ended."""
        now = self._clock()
        self._sampled.append(now - self._mark)
        self._count += 1
        self._last, self._mark = step, now

    def has_one_more(self, step: int) -> bool:
        """Whether the sampled steps so far, and this one, cost no more than they may."""
        now, plain_steps = self._clock(), step - 1 - self._last
        if plain_steps == 0 or step >= GROWTH * self._last:
            return True
        self._plain = min(self._plain, (now - self._mark) / plain_steps)
        cost = statistics.median(self._sampled) - self._plain
        return (self._count + 1) * cost <= ALLOWANCE + SHARE * (now - self._began)
