"""The beginning and the end of a run: opened in MLflow, concluded with verdict and report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from firstfault.tasks.recording import slug, tracker_of
from prefect import get_run_logger, task
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event
from prefect.runtime import flow_run

from firstfault import progress
from firstfault.errors import Missing, UserCodeError
from firstfault.report.markdown import verdict_markdown
from firstfault.session import RunRef, close_subject, data_digest, locate, open_subject
from firstfault.state import state_for
from firstfault.subject import Subject
from firstfault.tracking.links import run_url
from firstfault.tracking.runs import bury_killed
from firstfault.verdict import Verdict, VerdictStatus

LOCAL = ("trained.pt", "quarantine.csv")
"""Files that stay in the run's folder: weights are in the logged model, and quarantined rows hold raw values."""
DESCRIPTION, LONGEST = "mlflow.note.content", 5000
"""The tag that MLflow shows as a run's description, and the characters that it shows of it."""


@task(name="open run", task_run_name="open the run", cache_policy=NO_CACHE)
def open_run(target: str, settings: dict[str, Any], kind: str = "debug") -> RunRef:
    """Load the target, and open its run folder and its parent run in MLflow."""
    place = locate(target)
    state = state_for(Path(place.rpartition(":")[0] or place).parent)
    run = RunRef(target=place, folder=str(state.new_run()), home=str(state.home), **settings)
    with open_subject(run) as subject:
        tracker = tracker_of(run)
        bury_killed(tracker)
        run_id = tracker.start(f"{kind} {Path(run.folder).name}", None, _tags(subject, run))
        run = replace(run, mlflow_run_id=run_id)
        _log_inputs(subject, run)
    progress.emit(progress.RunOpened(subject.target.name, run.folder, run_id))
    return run


def _tags(subject: Subject, run: RunRef) -> dict[str, str]:
    from firstfault.provenance import git_sha

    return {
        "firstfault.status": "running",
        "firstfault.depth": run.depth.value,
        "firstfault.run_folder": run.folder,
        "firstfault.git_sha": git_sha(subject.target.root) or "none",
        "firstfault.prefect_flow_run_id": str(flow_run.id),
        "firstfault.prefect_flow_run_url": str(flow_run.ui_url),
    }


def _log_inputs(subject: Subject, run: RunRef) -> None:
    tracker = tracker_of(run)
    tracker.params(str(run.mlflow_run_id), {"target": run.target, "depth": run.depth, **({"where": run.where} if run.where else {}), **run.overrides})
    try:
        splits = subject.raw
    except (Missing, UserCodeError):
        return
    digest = data_digest(subject)
    tracker.tags(str(run.mlflow_run_id), {"firstfault.data_digest": digest})
    source = subject.target.data.train
    uri = str(source) if isinstance(source, str | Path) else type(source).__name__
    for name, split in splits.items():
        tracker.dataset(str(run.mlflow_run_id), f"{subject.target.name}-{name}", digest, uri, len(split.y), name)


@task(name="report", task_run_name="report · verdict and HTML", cache_policy=NO_CACHE)
def conclude_run(run: RunRef, verdict: Verdict) -> Verdict:
    """Write verdict.json and report.html, log them, and tell Prefect and automations."""
    verdict = replace(verdict, mlflow_run_id=run.mlflow_run_id, prefect_flow_run_id=str(flow_run.id))
    folder = Path(run.folder)
    (folder / "verdict.json").write_text(json.dumps(verdict.to_json(), indent=1))
    report = _write_report(run, verdict, folder)
    _to_mlflow(run, verdict, folder)
    create_markdown_artifact(key="verdict", markdown=verdict_markdown(verdict), description=verdict.status.value)
    if link := run_url(_state(run), tracker_of(run), run.mlflow_run_id):
        create_link_artifact(key="mlflow-run", link=link, link_text="this run in MLflow")
    emit_event(
        event="firstfault.verdict",
        resource={"prefect.resource.id": f"firstfault.target.{slug(verdict.target)}", "firstfault.status": verdict.status.value},
        payload={key: value for key, value in verdict.to_json().items() if key != "layers"},
    )
    get_run_logger().info("verdict: %s", verdict.status)
    progress.emit(progress.Concluded(verdict, run.folder, str(report) if report else None))
    close_subject(run)
    return verdict


def _write_report(run: RunRef, verdict: Verdict, folder: Path) -> Path | None:
    from firstfault.report import context_of, write_report

    links = {}
    if url := run_url(_state(run), tracker_of(run), run.mlflow_run_id):
        links["MLflow run"] = url
    if flow_run.ui_url:
        links["Prefect flow run"] = str(flow_run.ui_url)
    try:
        with open_subject(run) as subject:
            return write_report(verdict, folder, context=context_of(subject, links=links))
    except Exception:
        get_run_logger().exception("the HTML report could not be written; verdict.json holds everything")
        return None


def _state(run: RunRef) -> Any:
    from firstfault.state import State

    return State(Path(run.home))


def _to_mlflow(run: RunRef, verdict: Verdict, folder: Path) -> None:
    tracker, run_id = tracker_of(run), str(run.mlflow_run_id)
    first = verdict.first_faulty_layer
    tracker.tags(run_id, {
        "firstfault.status": verdict.status.value,
        "firstfault.first_faulty_layer": first.value if first else "none",
        "firstfault.fault": verdict.faults[0].fault if verdict.faults else "none",
        DESCRIPTION: verdict_markdown(verdict)[:LONGEST],
    })
    tracker.metrics(run_id, {
        "seconds": verdict.seconds,
        "faults": len(verdict.faults),
        **{f"seconds/{report.layer.value}": report.seconds for report in verdict.layers},
    })
    with open_subject(run) as subject:
        trained = subject.made(Subject.trained)
    if hasattr(trained, "epochs"):
        _log_curves(tracker, run_id, trained)
    tracker.files(run_id, [path for path in sorted(folder.iterdir()) if path.name not in LOCAL])
    tracker.end(run_id, "FAILED" if verdict.status is VerdictStatus.ERROR else "FINISHED")


def _log_curves(tracker: Any, run_id: str, trained: Any) -> None:
    names = ("train_loss", "train_metric", "validation_loss", "validation_metric")
    tracker.series(run_id, {
        name: [(epoch.number, getattr(epoch, name)) for epoch in trained.epochs] for name in names
    })


def abandon_run(run: RunRef, error: BaseException) -> None:
    """End the MLflow run of a debug run that was interrupted or crashed; what it measured stays."""
    killed = not isinstance(error, Exception)
    tracker = tracker_of(run)
    tracker.tags(str(run.mlflow_run_id), {"firstfault.status": "killed" if killed else "error"})
    tracker.files(str(run.mlflow_run_id), sorted(Path(run.folder).glob("layer_*.json")))
    tracker.end(str(run.mlflow_run_id), "KILLED" if killed else "FAILED")
    close_subject(run)


def finish_run(run: RunRef) -> None:
    """End the MLflow run of a sweep."""
    tracker = tracker_of(run)
    tracker.tags(str(run.mlflow_run_id), {"firstfault.status": "finished"})
    tracker.files(str(run.mlflow_run_id), sorted(Path(run.folder).iterdir()))
    tracker.end(str(run.mlflow_run_id))
    close_subject(run)
