"""The deployment layer as a Prefect task."""

from __future__ import annotations

from pathlib import Path

from firstfault.tasks.recording import examine_and_record, target_name, tracker_of
from prefect import task
from prefect.cache_policies import NO_CACHE

from firstfault.file_names import key_of
from firstfault.finding import Layer, LayerReport
from firstfault.session import RunRef


@task(name="deployment", task_run_name="deployment · package, serve, compare", cache_policy=NO_CACHE)
def check_deployment(run: RunRef) -> LayerReport:
    """Run the deployment checks on the run's target; record and return what they found."""
    report = examine_and_record(Layer.DEPLOYMENT, run)
    package = Path(run.folder) / "package"
    if package.is_dir() and run.mlflow_run_id:
        tracker_of(run).model(run.mlflow_run_id, key_of(target_name(run)), package)
    return report
