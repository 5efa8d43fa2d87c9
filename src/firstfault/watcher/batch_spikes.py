"""Losses of batches that stand out from those before them."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

BEFORE, FEWEST = 50, 20
"""Batches that one is compared with, and how few of them tell what is usual."""
STANDS_OUT = 8.0
"""Deviations, by the median of the distances from the median: of 100,000 normal losses none is so far off."""
TO_DEVIATIONS = 1.4826  # of a normal distribution's median distance


class Spikes:
    """Tells which losses stand out."""

    def __init__(self) -> None:
        self._before: deque[float] = deque(maxlen=BEFORE)

    def of(self, loss: float) -> str:
        """What is strange about a loss; "" where nothing is. It is one of those before the next."""
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        known = np.array(self._before)
        self._before.append(loss)
        if len(known) < FEWEST:
            return ""
        usual = float(np.median(known))
        spread = max(TO_DEVIATIONS * float(np.median(np.abs(known - usual))), 1e-3 * abs(usual), 1e-9)
        if loss - usual < STANDS_OUT * spread:
            return ""
        return f"the loss is {loss:.4g}, {(loss - usual) / spread:.0f} deviations above the {len(known)} batches before"
