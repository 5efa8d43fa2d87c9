"""Where a task's result goes: an MLflow child run, Prefect artifacts, events."""

from __future__ import annotations

import json
from pathlib import Path

from firstfault.tasks.live import progress_artifact
from prefect import get_run_logger
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.events import emit_event

from firstfault.escaping import visible_in
from firstfault.file_names import key_of
from firstfault.finding import Finding, Layer, LayerReport, Status
from firstfault.report.markdown import escaped_rows, layer_markdown
from firstfault.session import RunRef, examine, open_subject
from firstfault.stages import stage_metrics
from firstfault.state import State
from firstfault.tracking.links import run_url
from firstfault.tracking.runs import Tracker, open_tracker

_trackers: dict[tuple[str, str], Tracker] = {}


def tracker_of(run: RunRef) -> Tracker:
    """The tracker of a run's experiment, opened once per process."""
    with open_subject(run) as subject:
        key = (run.home, subject.target.name)
    if key not in _trackers:
        _trackers[key] = open_tracker(State(Path(run.home)), key[1])
    return _trackers[key]


def examine_and_record(layer: Layer, run: RunRef) -> LayerReport:
    """Run a layer's checks on the run's target; record and return what they found."""
    from firstfault.tasks.in_training import following_the_training

    with open_subject(run) as subject, progress_artifact(f"{layer}-progress"), following_the_training(run):
        report = examine(layer, subject, run.depth, run.where)
    return record(run, report)


def record(run: RunRef, report: LayerReport) -> LayerReport:
    """Write a layer's report to MLflow and Prefect, and tell automations of what failed."""
    run_id = _to_mlflow(run, report)
    _to_prefect(run, report, run_id)
    for finding in report.failures:
        emit_event(
            event="firstfault.finding.failed",
            resource={"prefect.resource.id": f"firstfault.target.{key_of(target_name(run))}", "firstfault.layer": report.layer.value},
            payload=visible_in(finding.to_json()),
        )
    get_run_logger().info("%s: %s in %.1f s, %d findings", report.layer, report.status, report.seconds, len(report.findings))
    return report


def _to_mlflow(run: RunRef, report: LayerReport) -> str | None:
    tracker = tracker_of(run)
    if not tracker.alive or run.mlflow_run_id is None:
        return None
    run_id = tracker.start(report.layer.value, run.mlflow_run_id, {"firstfault.status": report.status.value})
    counts = {f"findings/{status.value}": sum(f.status is status for f in report.findings) for status in Status}
    folder = Path(run.folder)
    tracker.metrics(run_id, {"seconds": report.seconds, **counts, **_values(report), **_stages(report, folder)})
    names = {name for finding in report.findings for name in finding.artifacts}
    tracker.files(run_id, [*sorted(folder.glob(f"layer_*_{report.layer.value}.json")), *(folder / name for name in sorted(names))])
    tracker.end(run_id)
    return run_id


def _values(report: LayerReport) -> dict[str, float]:
    return {
        f"{finding.check}/{finding.where}" if finding.where else finding.check: float(finding.value)
        for finding in report.findings
        if isinstance(finding.value, int | float)
    }


def _stages(report: LayerReport, folder: Path) -> dict[str, float]:
    """The statistics of every preprocessing stage and split."""
    written = any("stages.json" in finding.artifacts for finding in report.findings)
    return stage_metrics(json.loads((folder / "stages.json").read_text())) if written else {}


def _to_prefect(run: RunRef, report: LayerReport, run_id: str | None) -> None:
    layer = report.layer.value
    url = run_url(State(Path(run.home)), tracker_of(run), run_id)
    create_markdown_artifact(key=f"{layer}-summary", markdown=layer_markdown(report), description=f"{layer}: {report.status}")
    create_table_artifact(key=f"{layer}-findings", table=escaped_rows(map(_row, report.findings)))
    if url:
        create_link_artifact(key=f"{layer}-mlflow", link=url, link_text=f"{layer} in MLflow")


def _row(finding: Finding) -> dict[str, str]:
    return {
        "status": finding.status.value,
        "check": finding.check,
        "where": finding.where or "",
        "message": finding.message,
        "faults": ", ".join(finding.faults),
        "fix": finding.fix or "",
    }


def target_name(run: RunRef) -> str:
    """The name of a run's target."""
    with open_subject(run) as subject:
        return subject.target.name

