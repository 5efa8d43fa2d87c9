"""Model assertions: the user's own functions of (input, output), which say how bad an answer is.

    @firstfault.monitor.assertion
    def positive_price(input, output):
        return output < 0                      # True, or a severity above 0: something is wrong

They run in the process of the analysis, never on the way of a request. One that raises is counted, and told.

Source: Kang, Raghavan, Bailis & Zaharia, Model assertions for monitoring and improving ML models (MLSys 2020).
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from firstfault.metrics import Array
from firstfault.monitor.detect.asked import asked, decoded
from firstfault.monitor.detect.batch import Batch
from firstfault.monitor.detect.bets import coin_bets
from firstfault.monitor.detect.monitor import CoinMonitor
from firstfault.monitor.record import Outcome, Record

logger = logging.getLogger(__name__)
F = TypeVar("F", bound=Callable[..., Any])
LEAST = 0.002


class Assertion:
    """One of the user's functions, and how often it raised."""

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        self.function = function
        self.name = getattr(function, "__name__", "assertion")
        self.raised: Counter[str] = Counter()

    def severity(self, record: Record) -> float:
        """How bad an answer is, 0 when it is not; NaN where the function can't say."""
        try:
            value = self.function(asked(record), output_of(record))
            found = math.nan if value is None else float(value)
        except Exception as error:  # the user's own code
            self._note(error)
            return math.nan
        return max(0.0, found)

    def _note(self, error: Exception) -> None:
        told = f"{type(error).__name__}: {error}"[:200]
        if not self.raised:
            logger.warning("the assertion %s raised: %s", self.name, told)
        self.raised[told] += 1


registered: list[Assertion] = []
"""The assertions of the files that were imported."""


def assertion(function: F) -> F:
    """Let a function of (input, output) say how bad an answer is; it stays what it is.

    Args:
        function: returns False or 0 where nothing is wrong, True or a severity above 0 where something is, and None
            where it can't say.
    """
    registered.append(Assertion(function))
    return function


def output_of(record: Record) -> Any:
    """What was answered, whole: the value at the cut `label`, or the body of the answer."""
    return record.values["label"] if "label" in record.values else decoded(record.response)


def assertions(reference: Batch, own: Sequence[Assertion]) -> CoinMonitor | None:
    """The monitor of the assertions; None where there are none."""
    if not own:
        return None
    each = list(own)

    def seen(batch: Batch) -> Array:
        answered = batch.uniform & (batch.ended(Outcome.OK) > 0)
        found = np.full((len(batch), len(each)), np.nan)
        for at in np.flatnonzero(answered):
            found[at] = [float(s > 0) if (s := one.severity(batch.records[at])) == s else s for one in each]
        return found

    happened = seen(reference)
    sizes = np.maximum((~np.isnan(happened)).sum(0), 20)
    bets = tuple(
        coin_bets(float(np.nansum(column)), int(size), least=LEAST)
        for column, size in zip(happened.T, sizes, strict=True)
    )
    words = "the assertion {place} says that {now:.1%} of the answers are wrong, where {usual:.1%} are usual"
    return CoinMonitor("assertions", 3.0, tuple(one.name for one in each), seen, bets, words=words)
