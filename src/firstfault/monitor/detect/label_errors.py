"""How often the answers are wrong, when labels come. Needs the sample and its labels, which may come late."""

from __future__ import annotations

import numpy as np

from firstfault.metrics import Array
from firstfault.monitor.detect.asked import number
from firstfault.monitor.detect.batch import Batch
from firstfault.monitor.detect.bets import coin_bets
from firstfault.monitor.detect.monitor import CoinMonitor

LARGE = 0.9
"""Of a number, an error beyond this quantile of the usual ones is large."""
FEWEST = 50
"""Labels, for a rate that is known to a few points."""
LEAST, MATERIAL = 0.005, 0.01
"""One wrong answer in two hundred is nobody's incident, nor is one more in a hundred."""


def wrong(batch: Batch) -> Array:
    """Which answers differ from their labels `(N,)`, as 0.0 and 1.0; NaN where there is no label, or no answer."""
    pairs = zip(batch.classes, batch.truths, strict=True)
    found = [np.nan if name is None or truth is None else float(name != truth) for name, truth in pairs]
    return np.array(found, dtype=float)


def distances(batch: Batch) -> Array:
    """How far numbers are from their labels `(N,)`; NaN where there is none."""
    found = np.full(len(batch), np.nan)
    for at, (record, answer) in enumerate(zip(batch.records, batch.answers, strict=True)):
        if isinstance(record.label, int | float) and isinstance(answer.label, int | float):
            found[at] = abs(number(record.label) - number(answer.label))
    return found


def label_errors(reference: Batch, are_classes: bool) -> CoinMonitor | None:
    """The monitor of wrong answers, or of large errors; None where the reference has too few labels."""
    sample = reference.part(reference.uniform)
    errors = wrong(sample) if are_classes else distances(sample)
    known = errors[~np.isnan(errors)]
    if len(known) < FEWEST:
        return None
    limit = 0.5 if are_classes else float(np.quantile(known, LARGE))

    def seen(batch: Batch) -> Array:
        values = wrong(batch) if are_classes else distances(batch)
        return np.where(np.isnan(values), np.nan, values > limit)[:, None]

    often = float((known > limit).mean())
    bets = coin_bets(often * len(known), len(known), least=max(LEAST, often + MATERIAL))
    what = "wrong" if are_classes else f"off by more than {limit:.3g}"
    words = f"{{now:.1%}} of the labelled answers are {what}, where at most {{usual:.1%}} are usual"
    return CoinMonitor("label_errors", 5.0, ("labels",), seen, (bets,), words=words)
