"""The model layer as a Prefect task."""

from __future__ import annotations

from firstfault.tasks.recording import examine_and_record
from prefect import task
from prefect.cache_policies import NO_CACHE

from firstfault.finding import Layer, LayerReport
from firstfault.session import RunRef


@task(name="model", task_run_name="model · unit tests", cache_policy=NO_CACHE)
def check_model(run: RunRef) -> LayerReport:
    """Run the model checks on the run's target; record and return what they found."""
    return examine_and_record(Layer.MODEL, run)
