"""How far a sweep has come, told to whoever listens to `firstfault.progress`."""

from __future__ import annotations

import math
import time

from firstfault import progress
from firstfault.ablation.sweeps.job import Job, SweepTrial
from firstfault.finding import Layer


class Steps:
    """Counts the trainings of a sweep, and tells each one's beginning and end with the time that is left."""

    def __init__(self, total: int, metric: str) -> None:
        self.total, self.metric = total, metric
        self.begun = self.done = 0
        self.started = time.monotonic()

    def begin(self, job: Job) -> None:
        """Tell that a training begins."""
        self.begun += 1
        self._tell(f"training {self.begun} of {self.total}: {job.change}, seed {job.seed}")

    def end(self, trial: SweepTrial) -> None:
        """Tell what a training gave."""
        self.done += 1
        given = f"{self.metric} {trial.score:.4f}" if math.isfinite(trial.score) else "failed"
        pruned = ", given up" if trial.state == "pruned" else ""
        self._tell(
            f"{self.done} of {self.total} done{self._left()}: {trial.change}, seed {trial.seed}: {given}{pruned}"
        )

    def _left(self) -> str:
        seconds = (time.monotonic() - self.started) / self.done * (self.total - self.done)
        if seconds < 1:
            return ""
        return f", about {seconds:.0f} s left" if seconds < 120 else f", about {seconds / 60:.0f} min left"

    def _tell(self, text: str) -> None:
        progress.emit(progress.Step(Layer.TRAINING, text, self.done / max(self.total, 1)))
