"""How often the answers are wrong, when labels come. Needs the sample and its labels, which may come late.

Of classes, the surer half of the answers is looked at by itself, too: it is seldom wrong, so that a world in which the
same input has another label shows there far sooner than among all.
"""

from __future__ import annotations

import numpy as np

from firstfault.metrics import Array
from firstfault.monitor.detect.asked import number
from firstfault.monitor.detect.batch import Batch
from firstfault.monitor.detect.bets import CoinBets, coin_bets
from firstfault.monitor.detect.monitor import CoinMonitor

LARGE = 0.9
"""Of a number, an error beyond this quantile of the usual ones is large."""
FEWEST, FEWEST_SURE = 50, 200
"""Labels, for a rate that is known to a few points; of the surer half, for one that may be a few in a hundred."""
UNSURE = (1.0, 2.0)
"""Standard errors that are allowed for: among the surest answers a few wrong ones in hundreds are all that is known."""
PLACES = ("labelled answers", "surest labelled answers")
LEAST, MATERIAL = 0.005, 0.005
"""One wrong answer in two hundred is nobody's incident, nor is one more in two hundred.

Of simulated streams whose errors go from 10 to 15 in 100 as labels turn, all are seen within 1,500 labels, after 570 in
the median (without the surer half: 86 in 100, after 852); of those whose errors rise alike at any confidence, 3 in 4,
after 1,000, with the surer half or without. With one more in a hundred for what is material, it is two in three. Of
80 healthy streams of 10,000 labels, 3 in 100 of them wrong, none opens after 1,000 labels as reference, 1 after 500.
"""


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
    sure = _surer_half(sample.confidence[~np.isnan(errors)]) if are_classes else None

    def seen(batch: Batch) -> Array:
        values = wrong(batch) if are_classes else distances(batch)
        large = np.where(np.isnan(values), np.nan, values > limit)
        surest = [] if sure is None else [np.where(batch.confidence > sure, large, np.nan)]
        return np.stack([large, *surest], axis=1)

    columns = [values[~np.isnan(values)] for values in seen(sample).T]
    bets = tuple(_bets(values, unsure) for values, unsure in zip(columns, UNSURE, strict=False))
    what = "wrong" if are_classes else f"off by more than {limit:.3g}"
    words = f"{{now:.1%}} of the {{place}} are {what}, where at most {{usual:.1%}} are usual"
    return CoinMonitor("label_errors", 5.0, PLACES[: len(bets)], seen, bets, words=words)


def _surer_half(confidence: Array) -> float | None:
    """The confidence above which half of the answers are; None where too few are."""
    known = confidence[~np.isnan(confidence)]
    middle = float(np.median(known)) if len(known) else 0.0
    return middle if (known > middle).sum() >= FEWEST_SURE else None


def _bets(errors: Array, unsure: float) -> CoinBets:
    often, size = float(errors.mean()), len(errors)
    return coin_bets(often * size, size, least=max(LEAST, often + MATERIAL), unsure=unsure)
