"""Whether an incident's answers are worse than its control's: by labels that came, else by how sure the model is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from firstfault.errors import Missing
from firstfault.metrics import Array
from firstfault.subject.memo import memo
from firstfault.subject.offline import Offline
from firstfault.subject.replays import Side, known_in_both, replays
from firstfault.subject.subject import Subject

FEWEST_LABELS = 40
"""Labels on each side, below which they say nothing."""
WORSE_P = 0.01
"""With labels: by chance, one healthy incident in a hundred is worse."""
SURE_P = 1e-4
"""Without labels, confidence only estimates what was right: chance alone must be rarer than 1 in 10,000."""
LEAST_DROP = 0.02
"""A share of right answers that falls by less is no harm; our own `least_effect`."""
TOLERATED, SURE = 0.05, 1.64
"""Labels deny that answers are worse where a fall of five points, of the size that monitors must see, is ruled out:
by 1.64 standard errors, the one-sided bound that chance passes once in 20 times.
"""


@dataclass(frozen=True)
class Harm:
    """How right the answers were before and now; `worse` is None where nobody can tell."""

    worse: bool | None
    message: str
    before: float = float("nan")
    now: float = float("nan")
    by_labels: bool = False
    most: float = float("inf")
    """The largest fall of the share of right answers that the labels leave possible."""

    @property
    def is_denied(self) -> bool:
        """Whether labels rule out that the answers are worse; that they don't show it is less."""
        return self.most <= TOLERATED


@memo(of="trained")
def harm(subject: Subject) -> Harm:
    """What the incident did to the answers."""
    try:
        both = replays(subject)
        found = _by_labels(right(both.control), right(both.incident))
        return found or _by_confidence(both.control, both.incident)
    except Missing as reason:
        return Harm(None, str(reason))


def right(side: Side) -> Array:
    """How right each served answer was whose label came."""
    given, true = side.served, side.true
    if given.shape != true.shape:
        return np.zeros(0)
    known = known_in_both(given, true)
    return rightness(side.truth, given[known], true[known])


def rightness(truth: Offline, scores: Array, true: Array) -> Array:
    """How right scores are, row by row: 1 or 0 for a class, less the error for a number."""
    if truth.task == "regression":
        return np.asarray(-np.abs(scores - true).mean(1))
    return np.asarray((scores.argmax(1) == true.argmax(1)) & (scores.min(1) >= 0), dtype=float)


def _by_labels(before: Array, now: Array) -> Harm | None:
    if min(len(before), len(now)) < FEWEST_LABELS:
        return None
    drop, p = float(before.mean() - now.mean()), lower(before, now)
    worse = p <= WORSE_P and drop > LEAST_DROP
    words = f"right answers {before.mean():.3f} → {now.mean():.3f} by {len(now)} labels (p = {p:.2g})"
    error = math.sqrt(float(before.var(ddof=1)) / len(before) + float(now.var(ddof=1)) / len(now))
    return Harm(worse, words, float(before.mean()), float(now.mean()), True, most=drop + SURE * error)


def harm_beside(truth: Offline, given: Array, others: Array, true: Array) -> Harm:
    """What some answers did beside others to the very same requests `(N, K)`, by the labels that came.

    Each request is compared with itself: what is asked, and how hard it is, can't hide or feign a difference.
    """
    alike = given.shape == others.shape == true.shape
    known = known_in_both(given, true) & known_in_both(others, true) if alike else np.zeros(len(true), dtype=bool)
    if known.sum() < FEWEST_LABELS:
        return Harm(None, "too few labels came to say which answers are right")
    now, before = (rightness(truth, scores[known], true[known]) for scores in (given, others))
    lost = before - now
    drop, error = float(lost.mean()), float(lost.std(ddof=1)) / math.sqrt(len(lost))
    p = 0.5 * math.erfc(drop / (error * math.sqrt(2))) if error > 0 else float(drop <= 0)
    most = drop + SURE * error
    worse = True if p <= WORSE_P and drop > LEAST_DROP else False if most <= TOLERATED else None
    words = f"right answers {before.mean():.3f} → {now.mean():.3f} by {len(now)} labels of the same requests"
    return Harm(worse, f"{words} (p = {p:.2g})", float(before.mean()), float(now.mean()), True, most)


def _by_confidence(control: Side, incident: Side) -> Harm:
    """By the model's own confidence, offline: an estimate of its accuracy where that was calibrated."""
    if control.truth.task != "classification":
        return Harm(None, "no labels came, and nothing else says how right numbers are")
    before, now = _sure(control.replayed), _sure(incident.replayed)
    if min(len(before), len(now)) < FEWEST_LABELS:
        return Harm(None, "no labels came, and too few answers to estimate how right they were")
    p = lower(before, now)
    drop = float(before.mean() - now.mean())
    worse = True if p <= SURE_P and drop > LEAST_DROP else None
    words = f"estimated accuracy {before.mean():.3f} → {now.mean():.3f} by the model's confidence (p = {p:.2g})"
    return Harm(worse, words, float(before.mean()), float(now.mean()))


def _sure(scores: Array) -> Array:
    known = scores[np.isfinite(scores).all(1)]
    return known.max(1) if len(known) else np.zeros(0)


def lower(before: Array, now: Array) -> float:
    """The one-sided p-value of the second mean being lower, by Welch's test; shares by a pooled one."""
    variance = before.var(ddof=1) / len(before) + now.var(ddof=1) / len(now)
    drop = float(before.mean() - now.mean())
    if variance <= 0:
        return 0.0 if drop > 0 else 1.0
    return 0.5 * math.erfc(drop / math.sqrt(2 * float(variance)))
