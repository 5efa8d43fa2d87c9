"""What a study keeps in MLflow: a run for itself, and a run below it for each trial."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from firstfault.recording.recording import Recording

if TYPE_CHECKING:
    from firstfault.ablation.confirm.trials import Trial
    from firstfault.ablation.sweeps.results import SweepResult


class Trials:
    """The MLflow run above the trials of one study."""

    def __init__(self, recording: Recording, name: str) -> None:
        recording.open_when_late()
        self.tracker, self.above, self.name = recording.tracker, recording.run_id, name
        self.logged: set[tuple[str, int, float]] = set()

    def __enter__(self) -> Trials:
        self.run_id = self.tracker.start(self.name, self.above or None)
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        status = "FINISHED" if kind is None else "FAILED" if issubclass(kind, Exception) else "KILLED"
        self.tracker.end(self.run_id, status)

    def log(self, trial: Trial, tags: Mapping[str, str] | None = None) -> None:
        """Log one trial as a child run."""
        self.logged.add(_key(trial))
        state = state_of(trial)
        run_id = self.tracker.start(
            f"{trial.change} · seed {trial.seed}", self.run_id, {"firstfault.trial": state, **(tags or {})}
        )
        varied = {name: value for name, value in getattr(trial, "values", {}).items() if name not in trial.params}
        self.tracker.params(
            run_id, {"factor": trial.factor, "change": trial.change, "seed": trial.seed, **trial.params, **varied}
        )
        self.tracker.metrics(run_id, {"score": trial.score, "seconds": trial.seconds})
        self.tracker.series(run_id, {"score_after_epoch": list(enumerate(getattr(trial, "epochs", ()), 1))})
        self.tracker.end(run_id, "FAILED" if state == "failed" else "FINISHED")

    def log_earlier(self, trial: Trial) -> None:
        """Log a trial of the sweep that this one goes on with, so that the run that has the table has every trial."""
        if _key(trial) not in self.logged:
            self.log(trial, {"firstfault.resumed": "true"})

    def conclude(self, result: SweepResult, headline: str, files: Sequence[Path]) -> None:
        """Log what came of a sweep."""
        self.tracker.params(self.run_id, {"mode": result.mode, "study": result.study, "metric": result.metric})
        self.tracker.tags(self.run_id, {"firstfault.best": result.best, "firstfault.headline": headline})
        self.tracker.metrics(
            self.run_id,
            {
                **{f"importance/{name}": share for name, share in result.importances.items()},
                **({"noise": result.noise} if result.noise is not None else {}),
                "best": max((row.mean for row in result.rows if row.mean is not None), default=math.nan),
            },
        )
        self.tracker.files(self.run_id, files)


def state_of(trial: Trial) -> str:
    """Whether a trial is complete, failed or pruned."""
    return str(getattr(trial, "state", "complete" if math.isfinite(trial.score) else "failed"))


def _key(trial: Trial) -> tuple[str, int, float]:
    return trial.factor, trial.seed, trial.seconds
