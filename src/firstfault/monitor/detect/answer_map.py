"""Whether an answer is the one that its scores usually give: the way from logits to label. Needs the sample.

Of the reference it is learned which label each largest score stands for; of a single score, each of its twentieths.
"""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np

from firstfault.metrics import Array
from firstfault.monitor.detect.asked import largest
from firstfault.monitor.detect.batch import Batch
from firstfault.monitor.detect.bets import coin_bets
from firstfault.monitor.detect.monitor import CoinMonitor

FEWEST = 200
"""Pairs of score and answer from which the map is learned."""
PARTS = 20
"""A twentieth of 2,000 requests is 100: enough to know its usual answer."""
LEAST, UNCLEAR = 0.01, 0.1
"""One answer in a hundred may be another; where it is more than a tenth, scores don't say the answer."""


def answer_map(reference: Batch) -> CoinMonitor | None:
    """The monitor of labels beside their scores; None where either is not known, or one does not say the other."""
    sample = reference.part(reference.uniform)
    single = np.array([answer.scores[0] for answer in sample.answers if len(answer.scores) == 1])
    edges = np.unique(np.quantile(single, np.linspace(0, 1, PARTS + 1)[1:-1])) if len(single) else np.zeros(0)
    usual = _usual(sample, edges)

    def seen(batch: Batch) -> Array:
        keys = _keys(batch, edges)
        found = [
            np.nan if key not in usual or name is None else float(name != usual[key])
            for key, name in zip(keys, batch.classes, strict=True)
        ]
        differs = np.array(found, dtype=float)
        differs[~batch.champions] = np.nan
        return differs[:, None]

    happened = seen(sample)
    known = int((~np.isnan(happened)).sum())
    if known < FEWEST or np.nanmean(happened) > UNCLEAR:
        return None
    bets = coin_bets(float(np.nansum(happened)), known, least=LEAST)
    words = "{now:.1%} of the answers are another than their scores usually give, where {usual:.1%} may be"
    return CoinMonitor("answer_map", 1.5, ("label",), seen, (bets,), words=words)


def _keys(batch: Batch, edges: Array) -> list[int | None]:
    """The largest score of each request, or the part in which its only one lies."""
    scores = [answer.scores for answer in batch.answers]
    parts = iter(np.searchsorted(edges, [each[0] for each in scores if len(each) == 1]).tolist())
    return [next(parts) if len(each) == 1 else largest(each) for each in scores]


def _usual(sample: Batch, edges: Array) -> dict[int | None, str]:
    counts: dict[int, Counter[str]] = defaultdict(Counter)
    for key, name in zip(_keys(sample, edges), sample.classes, strict=True):
        if key is not None and name is not None:
            counts[key][name] += 1
    return {key: counter.most_common(1)[0][0] for key, counter in counts.items()}
