"""The time that testing suspicions may take, and how far both arms are cut down to fit it."""

from __future__ import annotations

import time

from firstfault.ablation.confirm.trials import Bench, Scale
from firstfault.check import Depth
from firstfault.subject.subject import Subject

TRAININGS = {Depth.QUICK: 1.0, Depth.STANDARD: 3.0, Depth.DEEP: 20.0}
LEAST_SECONDS = {Depth.QUICK: 5.0, Depth.STANDARD: 15.0, Depth.DEEP: 60.0}
MOST_QUICK = 10.0
PILOT_SECONDS = 8.0
GRACE = 1.5
MOST_ARMS = 3


class Budget:
    """Seconds that begin to count now. A comparison that has begun may take half as long again."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._started = time.monotonic()

    @property
    def left(self) -> float:
        """Seconds left for new comparisons."""
        return self.seconds - (time.monotonic() - self._started)

    @property
    def spent(self) -> float:
        """The share of the seconds that has passed, 0 and more."""
        return 1 - self.left / self.seconds if self.seconds > 0 else 1.0

    @property
    def deadline(self) -> float:
        """The `time.monotonic()` value at which a comparison that has begun is cut."""
        return self._started + GRACE * self.seconds

    def __str__(self) -> str:
        return f"{self.seconds:.0f} s"


def training_seconds(subject: Subject, bench: Bench) -> float:
    """What one full training of the target takes: known from the observed one, measured, or extrapolated."""
    run = bench.baseline(bench.seeds[0], time.monotonic() + PILOT_SECONDS)
    return max(run.seconds / max(run.done, 1e-3) if run.cut else run.seconds, 1e-3)


def default_seconds(depth: Depth, once: float) -> float:
    """The budget at a depth for a target of which one training takes `once` seconds.

    quick: one training, 5–10 s; standard: 3 trainings, at least 15 s; deep: 20 trainings, at least 60 s.
    """
    seconds = max(LEAST_SECONDS[depth], TRAININGS[depth] * once)
    return min(seconds, MOST_QUICK) if depth is Depth.QUICK else seconds


def scale_for(bench: Bench, seconds: float, once: float, arms: int) -> Scale:
    """The scale at which the unchanged target and up to 3 of the planned arms fit the seconds."""
    trainings = len(bench.seeds) * (1 + max(1, min(arms, MOST_ARMS)))
    epochs = bench.recipe.training.epochs if bench.recipe.training.fit is None else None
    return Scale.to_fit(seconds / (once * trainings), epochs)
