"""The rule that only a training which still runs needs: its end is judged beside a simple model instead."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from firstfault.check import Check, Depth, Judgement, passed, skipped
from firstfault.finding import Layer, Status
from firstfault.subject.subject import Subject

WEIGHT = 0.6
"""Between `STANDS` and `PROOF`: listed untested, and refuted where another rate changes nothing."""


def no_progress(
    subject: Subject, *, fall: float = 0.02, largest: float = 0.1, largest_first: float = 0.5, least: int = 100
) -> Iterator[Judgement]:
    """Find a training whose steps are or were far too large, and whose loss is no lower than before its first step.

    `value` is the relative fall of the loss from the first step to the mean over the last fifth of the steps. Below
    `fall` it counts from `least`
    steps on, where the median update changes the weights by more than `largest` of their size, or one of the first five
    by more than `largest_first`: losses that do not fall are healthy in adversarial trainings, but such steps are not.

    Source: Amazon SageMaker Debugger, LossNotDecreasing; the bounds of steps are those by which a debug run calls them
    too large.
    """
    record = subject.record
    ratios = [value for value in record.update_ratio.values if math.isfinite(value)]
    if record.first_nonfinite is not None or record.steps < least or not ratios or record.loss.steps[0] != 1:
        yield skipped(f"fewer than {least} finite steps were seen")
        return
    first, late = record.loss.values[0], float(np.mean(record.loss.values[-max(1, len(record.loss) // 5) :]))
    middle, early = float(np.median(ratios)), max(ratios[:5])
    value = (first - late) / max(abs(first), 1e-12)
    text = (
        f"the loss is {late:.3g}, before the first step it was {first:.3g}; "
        f"an update changes a weight by {middle:.2g} of its size, the first ones by {early:.2g}"
    )
    if value >= fall or (middle <= largest and early <= largest_first):
        yield passed(text, value=value)
        return
    yield Judgement(Status.FAIL, text, value=value, threshold=fall, fix="divide the learning rate by 10 or more")


NO_PROGRESS = Check(
    "no_progress", Layer.TRAINING, no_progress, frozenset({"record"}), {"learning_rate_too_high": WEIGHT}, Depth.QUICK
)
