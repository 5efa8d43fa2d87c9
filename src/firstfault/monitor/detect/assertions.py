"""How often the user's assertions find an answer wrong. Needs the sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from firstfault.metrics import Array
from firstfault.monitor.assertions import Assertion
from firstfault.monitor.detect.asked import asked, decoded
from firstfault.monitor.detect.batch import Batch
from firstfault.monitor.detect.bets import coin_bets
from firstfault.monitor.detect.monitor import CoinMonitor
from firstfault.monitor.record import Outcome, Record

LEAST = 0.002
"""One answer in 500 may be found wrong."""
FEWEST = 20
"""A reference with fewer answers counts as so many."""


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
            record = batch.records[at]
            severities = np.array([one.severity(asked(record), output_of(record)) for one in each])
            found[at] = np.where(np.isnan(severities), np.nan, severities > 0)
        return found

    happened = seen(reference)
    sizes = np.maximum((~np.isnan(happened)).sum(0), FEWEST)
    bets = tuple(
        coin_bets(float(np.nansum(column)), int(size), least=LEAST)
        for column, size in zip(happened.T, sizes, strict=True)
    )
    words = "the assertion {place} says that {now:.1%} of the answers are wrong, where {usual:.1%} are usual"
    return CoinMonitor("assertions", 3.0, tuple(one.name for one in each), seen, bets, words=words)
