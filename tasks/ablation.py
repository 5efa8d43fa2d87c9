"""Swaps and ablation sweeps as Prefect tasks; every trial is an MLflow run of its own."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from firstfault.tasks.live import progress_artifact
from firstfault.tasks.recording import slug, tracker_of
from prefect import get_run_logger, task
from prefect.artifacts import create_image_artifact, create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from firstfault.finding import LayerReport
from firstfault.session import RunRef, data_digest, open_subject
from firstfault.state import State
from firstfault.subject import Subject
from firstfault.tracking.links import run_url
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


@task(name="sweep", task_run_name="sweep · train, compare, report", cache_policy=NO_CACHE)
def run_sweep(run: RunRef, settings: dict[str, Any]) -> dict[str, Any]:
    """Run an ablation sweep of the run's target, and write its report; its table, as JSON."""
    from firstfault.ablation.sweep import sweep

    with _parent(run, "sweep") as parent, open_subject(run) as subject, progress_artifact("sweep-progress"):
        result = sweep(subject, on_trial=parent.log, origin=run, **settings)
        for trial in result.trials:
            parent.log_earlier(trial)
        picture = _write(run, parent, subject, result)
    values = {**result.to_json(), "report": str(Path(run.folder) / "report.html")}
    create_table_artifact(key="ablation-table", table=values["rows"])
    create_table_artifact(key="sweep-trials", table=result.trial_table() or [{"trial": "none has ended"}])
    create_table_artifact(key="importances", table=[{"of": name, "share": share} for name, share in values["importances"].items()] or [{"of": "too little varies"}])
    create_image_artifact(image_url=picture.as_uri(), key="ablation-plot")
    return values


def _write(run: RunRef, parent: _parent, subject: Subject, result: Any) -> Path:
    """Write the sweep's files into the run's folder, and log its numbers; the path of the plot."""
    from firstfault.ablation.optuna_plots import optuna_plots
    from firstfault.ablation.plot import plot_sweep
    from firstfault.provenance import git_sha, versions
    from firstfault.report.sweep_page import headline, sweep_markdown, write_sweep_report

    folder, plots = Path(run.folder), optuna_plots(result)
    picture = plot_sweep(result, folder)
    for title, png in plots.items():
        (folder / f"optuna_{slug(title).replace('-', '_')}.png").write_bytes(png)
    links = {"MLflow run": run_url(State(Path(run.home)), parent.tracker, parent.run_id), "Prefect flow run": flow_run.ui_url}
    facts = {"seed": subject.seed, "commit": git_sha(subject.target.root) or "outside git", "data digest": data_digest(subject), **versions()}
    report = write_sweep_report(
        result, folder, plots=plots, links={title: str(url) for title, url in links.items() if url}, facts=facts,
    )
    said = headline(result)
    (folder / "sweep.json").write_text(json.dumps({**result.to_json(), "headline": said}, indent=1))
    parent.conclude(result, said, [picture, report])
    create_markdown_artifact(key="sweep-summary", markdown=sweep_markdown(result), description=said)
    return picture


class _parent:
    """The MLflow run above the trials of one study."""

    def __init__(self, run: RunRef, name: str) -> None:
        self.tracker, self.above, self.name = tracker_of(run), run.mlflow_run_id, name
        self.logged: set[tuple[Any, ...]] = set()

    def __enter__(self) -> _parent:
        self.run_id = self.tracker.start(self.name, self.above) if self.tracker.alive else ""
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        status = "FINISHED" if kind is None else "FAILED" if issubclass(kind, Exception) else "KILLED"
        self.tracker.end(self.run_id, status)

    def log(self, trial: Any, tags: Mapping[str, str] | None = None) -> None:
        """Log one trial as a child run, and say so in the flow run's log."""
        state = getattr(trial, "state", "complete" if math.isfinite(trial.score) else "failed")
        get_run_logger().info("%s, seed %s: %s %.4f in %.1f s", trial.change, trial.seed, state, trial.score, trial.seconds)
        self.logged.add(_key(trial))
        if not self.tracker.alive:
            return
        run_id = self.tracker.start(f"{trial.change} · seed {trial.seed}", self.run_id, {"firstfault.trial": state, **(tags or {})})
        varied = {name: value for name, value in getattr(trial, "values", {}).items() if name not in trial.params}
        self.tracker.params(run_id, {"factor": trial.factor, "change": trial.change, "seed": trial.seed, **trial.params, **varied})
        self.tracker.metrics(run_id, {"score": trial.score, "seconds": trial.seconds})
        self.tracker.series(run_id, {"score_after_epoch": list(enumerate(getattr(trial, "epochs", ()), 1))})
        self.tracker.end(run_id, "FAILED" if state == "failed" else "FINISHED")

    def log_earlier(self, trial: Any) -> None:
        """Log a trial of the sweep that this one goes on with, so that the run that has the table has every trial."""
        if _key(trial) not in self.logged:
            self.log(trial, {"firstfault.resumed": "true"})

    def conclude(self, result: Any, headline: str, files: Sequence[Path]) -> None:
        """Log what came of a sweep."""
        self.tracker.params(self.run_id, {"mode": result.mode, "study": result.study, "metric": result.metric})
        self.tracker.tags(self.run_id, {"firstfault.best": result.best, "firstfault.headline": headline})
        self.tracker.metrics(self.run_id, {
            **{f"importance/{name}": share for name, share in result.importances.items()},
            **({"noise": result.noise} if result.noise is not None else {}),
            "best": max((row.mean for row in result.rows if row.mean is not None), default=math.nan),
        })
        self.tracker.files(self.run_id, files)


def _key(trial: Any) -> tuple[Any, ...]:
    return trial.factor, trial.seed, trial.seconds
