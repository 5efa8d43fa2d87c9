"""Two answers to the same requests, compared over parts of them by the rule that judges trainings over seeds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from firstfault.ablation.compare import Comparison, compare
from firstfault.metrics import Array
from firstfault.verdict import Outcome, Swap

PARTS = "parts of the requests"
MOST_PARTS, LEAST_ROWS = 8, 75
FEWEST_PARTS, FEW_ROWS = 3, 75
"""Parts stand for seeds: from 75 requests on they are three, the fewest by which a gain can be significant."""
RETURNS = 0.25
"""How much of what was lost an undone fault must bring back; a second one may have the rest."""
METRIC = "likeness to the control"


def parts_of(rows: int) -> list[Array]:
    """The rows in up to eight parts of 75 and more, dealt at random, always the same way; in three of 25 where few."""
    least = FEWEST_PARTS if rows >= FEW_ROWS else 2
    parts = max(least, min(MOST_PARTS, rows // LEAST_ROWS))
    return [np.sort(part) for part in np.array_split(np.random.default_rng(0).permutation(rows), parts)]


def over_parts(rows: int, score: Callable[[Array], tuple[float, float]], metric: str = METRIC) -> Comparison | None:
    """The scores before and after of each part, compared; None where they can't be taken."""
    pairs = [score(part) for part in parts_of(rows)]
    pairs = [pair for pair in pairs if np.isfinite(pair).all()]
    if len(pairs) < 2:
        return None
    before, after = zip(*pairs, strict=True)
    return compare(before, after, metric)


def outcome(fault: str, change: str, found: Comparison | None, metric: str, healthy: float | None = None) -> Outcome:
    """What undoing a fault did; `healthy` is the score of the control, of which a quarter must come back."""
    if found is None:
        return Outcome(fault, None, reason="unproven: too few of the requests can be replayed", undecided=True)
    swap = Swap(change, metric, found.before, found.after, found.seeds, found.p_value, over=PARTS)
    lost = (healthy - found.before) if healthy is not None else found.gain
    returned = found.gain >= RETURNS * lost
    if found.better and returned:
        return Outcome(fault, True, swap)
    why = "it changes no answer" if abs(found.gain) < 1e-9 else "it brings back less than the noise"
    return Outcome(fault, False, swap, reason=f"undone on the incident's own requests, {why}")


def unproven(fault: str, why: str, *, undecided: bool = True) -> Outcome:
    """A suspicion that could not be replayed, and why."""
    return Outcome(fault, None, reason=why if why.startswith("unproven") else f"unproven: {why}", undecided=undecided)
