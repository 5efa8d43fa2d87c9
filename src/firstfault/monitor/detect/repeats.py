"""Equal inputs: do they get equal answers, does their answer go to others, do they come too often? Needs the hashes.

What was seen is remembered for as many requests as there is room for; it is not kept over a restart.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from firstfault.metrics import Array
from firstfault.monitor.detect.batch import Batch
from firstfault.monitor.detect.bets import coin_bets
from firstfault.monitor.detect.monitor import CoinMonitor
from firstfault.monitor.record import Record

MOST_REMEMBERED = 20_000
"""Hashes: some 4 MB."""
LEAST = 0.02
"""One pair in fifty may differ: clocks and floats."""
FEWEST = 20
"""A reference with fewer pairs counts as so many."""
NEAR = 500
"""What came within so many requests before came just before; until so many were seen, nobody can say."""
OFTEN, OFTENER = 0.25, 1.5
"""A quarter may come again, and half again as many as usual: clients retry, and some kinds of input are few."""
PLACES = ("other answers to equal inputs", "equal outputs of different inputs", "inputs that came just before")


class _Memory:
    """What was answered to what."""

    def __init__(self) -> None:
        self.outputs: OrderedDict[tuple[str, str], str] = OrderedDict()
        self.inputs: OrderedDict[tuple[str, str], tuple[str, int]] = OrderedDict()
        self.last: OrderedDict[str, int] = OrderedDict()
        self.count = 0

    def add(self, record: Record) -> tuple[float, float, float]:
        """Whether its answer differs from that to an equal one, is that to another, and whether it came just before."""
        key, output = record.cuts.tensor or record.cuts.raw, record.cuts.logits or record.cuts.label
        if not key or not output or "~" in key + output:
            return np.nan, np.nan, np.nan
        again, side = self._came_before(key), f"{record.version} {record.arm}"
        before = _swapped(self.outputs, (side, key), output)
        differs = np.nan if before is None else float(before != output)
        if not record.cuts.logits:
            return differs, np.nan, again
        return differs, self._belongs_to_another((side, output), key), again

    def _belongs_to_another(self, output: tuple[str, str], key: str) -> float:
        owner = self.inputs.pop(output, None)
        self.inputs[output] = key, self.count
        if len(self.inputs) > MOST_REMEMBERED:
            self.inputs.popitem(last=False)
        if self.count <= NEAR:
            return np.nan
        return float(owner is not None and owner[0] != key and self.count - owner[1] <= NEAR)

    def _came_before(self, key: str) -> float:
        self.count += 1
        before = self.last.pop(key, None)
        self.last[key] = self.count
        if len(self.last) > MOST_REMEMBERED:
            self.last.popitem(last=False)
        if self.count <= NEAR:
            return np.nan
        return float(before is not None and self.count - before <= NEAR)


def _swapped(memory: OrderedDict[tuple[str, str], str], key: tuple[str, str], value: str) -> str | None:
    """What was known under a key, which now knows a new value."""
    before = memory.pop(key, None)
    memory[key] = value
    if len(memory) > MOST_REMEMBERED:
        memory.popitem(last=False)
    return before


def repeats(reference: Batch) -> CoinMonitor:
    """The monitor of repeated inputs and outputs."""
    memory = _Memory()

    def seen(batch: Batch) -> Array:
        return np.array([memory.add(record) for record in batch.records]).reshape(len(batch), len(PLACES))

    happened = seen(reference)
    sizes = (~np.isnan(happened)).sum(0)
    often = OFTENER * float(np.nansum(happened[:, -1]) / max(1, sizes[-1]))
    bets = tuple(
        coin_bets(float(np.nansum(column)), max(FEWEST, int(size)), least=least)
        for column, size, least in zip(happened.T, sizes, (LEAST, LEAST, max(OFTEN, often)), strict=True)
    )
    words = "{place}: {now:.1%} of the requests where {usual:.1%} may be"
    return CoinMonitor("repeats", 1.0, PLACES, seen, bets, words=words)
