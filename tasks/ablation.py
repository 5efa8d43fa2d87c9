"""Swaps and ablation sweeps as Prefect tasks; every trial is an MLflow run of its own."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from firstfault.tasks.live import progress_artifact
from firstfault.tasks.recording import tracker_of
from prefect import task
from prefect.artifacts import create_image_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from firstfault.finding import LayerReport
from firstfault.session import RunRef, open_subject
from firstfault.verdict import Outcome


@task(name="ablation", task_run_name="ablation · undo what is suspected", cache_policy=NO_CACHE)
def confirm_suspicions(run: RunRef, report: LayerReport) -> list[Outcome]:
    """Undo each suspected fault of a layer and retrain; which suspicions the recovery confirms."""
    from firstfault.ablation.confirm import confirm

    name = f"{report.layer.value}-swaps"
    with _parent(run, f"ablation · {report.layer.value}") as parent, open_subject(run) as subject, progress_artifact(f"{name}-progress"):
        outcomes = confirm(subject, report, on_trial=parent.log)
    table = [
        {"fault": outcome.fault, "confirmed": str(outcome.confirmed), "reason": outcome.reason,
         **({"change": outcome.swap.change, "before": outcome.swap.before, "after": outcome.swap.after} if outcome.swap else {})}
        for outcome in outcomes
    ]
    create_table_artifact(key=name, table=table or [{"fault": "none could be tested"}])
    return outcomes


@task(name="sweep", task_run_name="sweep · one change at a time", cache_policy=NO_CACHE)
def run_sweep(run: RunRef, settings: dict[str, Any]) -> dict[str, Any]:
    """Run an ablation sweep of the run's target; its table, as JSON."""
    from firstfault.ablation.plot import plot_sweep
    from firstfault.ablation.sweep import sweep

    with _parent(run, "sweep") as parent, open_subject(run) as subject, progress_artifact("sweep-progress"):
        result = sweep(subject, on_trial=parent.log, **settings)
        picture = plot_sweep(result, Path(run.folder))
        parent.tracker.files(parent.run_id, [picture])
    values = result.to_json()
    create_table_artifact(key="ablation-table", table=values["rows"])
    create_image_artifact(image_url=picture.as_uri(), key="ablation-plot")
    return values


class _parent:
    """The MLflow run above the trials of one study."""

    def __init__(self, run: RunRef, name: str) -> None:
        self.tracker, self.above, self.name = tracker_of(run), run.mlflow_run_id, name

    def __enter__(self) -> _parent:
        self.run_id = self.tracker.start(self.name, self.above) if self.tracker.alive else ""
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        self.tracker.end(self.run_id, "FAILED" if kind else "FINISHED")

    def log(self, trial: Any) -> None:
        """Log one trial as a child run."""
        if not self.tracker.alive:
            return
        run_id = self.tracker.start(f"{trial.change} · seed {trial.seed}", self.run_id)
        self.tracker.params(run_id, {"factor": trial.factor, "change": trial.change, "seed": trial.seed, **trial.params})
        self.tracker.metrics(run_id, {"score": trial.score, "seconds": trial.seconds})
        self.tracker.end(run_id, "FINISHED" if math.isfinite(trial.score) else "FAILED")
