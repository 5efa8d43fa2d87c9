"""Whether answers come for which no model was asked, to inputs that did not come before: a cache that mixes them up.

Needs the hashes, and a reference in which the model was asked for nearly all answers. What came before is remembered
for as many requests as there is room for; it is not kept over a restart.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from firstfault.metrics import Array
from firstfault.monitor.detect.batch import Batch
from firstfault.monitor.detect.bets import coin_bets
from firstfault.monitor.detect.monitor import CoinMonitor
from firstfault.monitor.record import Outcome, Record

NEARLY_ALL = 0.9
"""Of the usual answers the model must be seen to be asked, before it says anything that it is not."""
LEAST = 0.02
"""One answer in fifty may be of a cache that was filled before anybody looked."""
UNSEEN = 0.5
"""Of what the sample leaves out, so much may be what a sound cache keeps."""
MOST_REMEMBERED = 20_000
"""Hashes: some 2 MB."""


class _Memory:
    """The inputs that came, and the versions that ask the model."""

    def __init__(self, versions: frozenset[str]) -> None:
        self.versions = versions
        self.inputs: OrderedDict[str, None] = OrderedDict()

    def add(self, record: Record) -> float:
        """Whether it was answered without the model and is new; NaN where nobody can say."""
        key, asked = record.cuts.raw, bool(record.cuts.logits or record.cuts.tensor)
        if not key or record.outcome is not Outcome.OK or record.version not in self.versions:
            return np.nan
        new = key not in self.inputs
        self.inputs[key] = None
        self.inputs.move_to_end(key)
        if len(self.inputs) > MOST_REMEMBERED:
            self.inputs.popitem(last=False)
        return float(new and not asked)


def unasked(reference: Batch) -> CoinMonitor | None:
    """The monitor of answers without a model; None where it is not seen whether one is asked."""
    answered = [record for record in reference.records if record.outcome is Outcome.OK and record.cuts.raw]
    asked = [record for record in answered if record.cuts.logits]
    if not asked or len(asked) < NEARLY_ALL * len(answered):
        return None
    memory = _Memory(frozenset(record.version for record in asked))

    def seen(batch: Batch) -> Array:
        return np.array([[memory.add(record)] for record in batch.records]).reshape(len(batch), 1)

    happened = seen(reference)
    least = max(LEAST, UNSEEN * (1 - reference.share))
    bets = coin_bets(float(np.nansum(happened)), float((~np.isnan(happened)).sum()), least=least)
    words = "{now:.1%} of the answers came without the model to inputs that are new, where {usual:.1%} may"
    return CoinMonitor("unasked", 0.5, ("answers",), seen, (bets,), words=words)
