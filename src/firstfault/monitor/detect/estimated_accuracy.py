"""The accuracy that the confidences promise, before any label comes (CBPE). Needs the sample.

A calibrated confidence is the chance that an answer is right, so that their mean is the accuracy to be expected. The
calibration is learned from the reference's labels. It says nothing of a world in which the same input has another
label: where labels come that tell of another accuracy, it doesn't transfer, and the monitor is silent from then on.

Source: NannyML, Confidence-based Performance Estimation (documentation of 0.13).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from firstfault.metrics import Array
from firstfault.monitor.detect.batch import Batch
from firstfault.monitor.detect.bets import MeanBets, mean_bets
from firstfault.monitor.detect.label_errors import wrong
from firstfault.monitor.detect.monitor import MeanMonitor, enough

FEWEST = 200
"""Confidences, for a mean that is known to about a point."""
FEWEST_LABELS = 200
"""Labels, for a calibration that follows more than chance."""
TRANSFERS = 0.05
"""The estimate may be off by so much."""


@dataclass(frozen=True)
class Calibration:
    """Confidences, and the chance of being right at each, ascending."""

    at: Array
    chance: Array

    def of(self, confidence: Array) -> Array:
        """The chance `(N,)` that answers of these confidences are right."""
        found = np.interp(np.nan_to_num(confidence, nan=0.5), self.at, self.chance)
        return np.asarray(np.where(np.isnan(confidence), np.nan, found))


IDENTITY = Calibration(np.array([0.0, 1.0]), np.array([0.0, 1.0]))


def calibration(reference: Batch) -> Calibration | None:
    """Learned from the labels of a reference; None where there are too few."""
    errors, confidence = wrong(reference), reference.confidence
    known = ~np.isnan(errors) & ~np.isnan(confidence) & reference.uniform
    if known.sum() < FEWEST_LABELS:
        return None
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(out_of_bounds="clip").fit(confidence[known], 1 - errors[known])
    return Calibration(np.asarray(fitted.X_thresholds_), np.asarray(fitted.y_thresholds_))


def estimated_accuracy(reference: Batch, learned: Calibration | None, margin: float) -> MeanMonitor | None:
    """The monitor of the estimate; None where answers don't say how sure they are."""
    sample = reference.part(reference.uniform)
    if not enough(sample.confidence, FEWEST):
        return None
    calibrated = learned or IDENTITY

    def seen(batch: Batch) -> Array:
        found = calibrated.of(batch.confidence)
        found[~batch.champions] = np.nan
        return found[:, None]

    usual = seen(sample)[:, 0]
    usual = usual[~np.isnan(usual)]
    bets = mean_bets(usual, margin)
    what = "the estimated accuracy" if learned else "the confidence, which no label has calibrated,"
    words = f"{what} is {{now:.1%}} where {{usual:.1%}} is usual"
    return MeanMonitor("estimated_accuracy", 2.0, ("accuracy",), seen, bets, float(usual.mean()), words)


OFF = MeanBets(0.5 - TRANSFERS / 2, (0.2, 0.6))


@dataclass(frozen=True)
class TransferMonitor:
    """Bets that the estimate is off, when labels come: it opens nothing, and silences the estimate."""

    calibrated: Calibration
    name: str = "calibration"
    weight: float = 0.0
    places: tuple[str, ...] = ("calibration",)
    bets: MeanBets = OFF

    @property
    def counts(self) -> list[int]:
        """The number of bets: that it promises too much, and too little."""
        return [2 * self.bets.count]

    @property
    def slack(self) -> Array:
        """Nothing is divided."""
        return np.zeros(2 * self.bets.count)

    def look(self, batch: Batch) -> Array:
        """What was promised less what was kept, moved to 0–1: 0.5 where the promise is right."""
        found = (1 + self.calibrated.of(batch.confidence) - (1 - wrong(batch))) / 2
        found[~batch.uniform] = np.nan
        return np.asarray(found[:, None])

    def bet(self, batch: Batch, seen: Array) -> Array:
        """The logarithms of all bets' factors."""
        return np.concatenate([self.bets.of(1 - seen[:, 0]), self.bets.of(seen[:, 0])], axis=1)

    def says(self, column: int, seen: Array) -> str:
        """By how much the estimate is off."""
        off = 2 * float(np.nanmean(seen)) - 1
        return f"the estimated accuracy is off by {off:+.1%}, so that its calibration doesn't transfer"
