"""The CPU time that testing suspicions may take, and how far both arms are cut down to fit it."""

from __future__ import annotations

from firstfault.ablation.confirm.trials import Bench, Scale
from firstfault.check import Depth
from firstfault.clock import GUARD, Deadline
from firstfault.subject.subject import Subject

TRAININGS = {Depth.QUICK: 1.0, Depth.STANDARD: 3.0, Depth.DEEP: 20.0}
"""How many trainings the tests of suspicions may cost: a choice of ours, by what a person waits for at each depth."""
LEAST_SECONDS = {Depth.QUICK: 5.0, Depth.STANDARD: 15.0, Depth.DEEP: 60.0}
"""CPU seconds at least: at standard they train a target of 1 s whole over three seeds in four arms, which are 12 s."""
MOST_QUICK = 10.0
"""CPU seconds for which a quick look may go on, however long a training takes: someone waits for it."""
PILOT_SECONDS = 8.0
"""CPU seconds after which the first training is cut, and the rest of its time reckoned from what it got done."""
GRACE = 1.5
"""A comparison that has begun may overrun the budget by half: cut, all that it has cost would tell nothing."""
MOST_ARMS = 3
"""Arms that the scale is planned for: planned for all, each would be cut down for swaps that may never be tried."""


class Budget:
    """CPU seconds that begin to count now. A comparison that has begun may take half as long again."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._clock = Deadline(seconds)
        self.deadline = Deadline(GRACE * seconds)
        """When a comparison that has begun is cut."""

    @property
    def left(self) -> float:
        """CPU seconds left for new comparisons."""
        return self.seconds - self._clock.used

    @property
    def spent(self) -> float:
        """The share of the seconds that is used, 0 and more."""
        return 1 - self.left / self.seconds if self.seconds > 0 else 1.0

    def __str__(self) -> str:
        slept = f" of CPU time was not used within {GUARD * self.seconds:.0f} s of waiting, and"
        return f"{self.seconds:.0f} s{slept * self._clock.overslept}"


def training_seconds(subject: Subject, bench: Bench) -> float:
    """The CPU time of a full training of the target: known from the observed one, measured, or extrapolated."""
    run = bench.baseline(bench.seeds[0], Deadline(PILOT_SECONDS))
    return max(run.cpu / max(run.done, 1e-3) if run.cut else run.cpu, 1e-3)


def default_seconds(depth: Depth, once: float) -> float:
    """The budget at a depth for a target of which one training takes `once` CPU seconds.

    quick: one training, 5–10 s; standard: 3 trainings, at least 15 s; deep: 20 trainings, at least 60 s.
    """
    seconds = max(LEAST_SECONDS[depth], TRAININGS[depth] * once)
    return min(seconds, MOST_QUICK) if depth is Depth.QUICK else seconds


def scale_for(bench: Bench, seconds: float, once: float, arms: int) -> Scale:
    """The scale at which the unchanged target and up to 3 of the planned arms fit the seconds."""
    trainings = len(bench.seeds) * (1 + max(1, min(arms, MOST_ARMS)))
    epochs = bench.recipe.training.epochs if bench.recipe.training.fit is None else None
    return Scale.to_fit(seconds / (once * trainings), epochs)
