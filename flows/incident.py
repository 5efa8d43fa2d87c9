"""The flow that diagnoses an incident in production."""

from __future__ import annotations

from typing import Any

from firstfault.flows.debug import final_state
from firstfault.tasks.steps import INCIDENT_NAMES, TaskSteps
from firstfault.tasks.told import TOLD, Interrupted
from prefect import flow
from prefect.states import Cancelled, State

from firstfault.recording.incident_run import IncidentSettings, diagnose_incident


@flow(name="incident", flow_run_name="incident {incident}", validate_parameters=True)
def incident(
    incident: str = "",
    target: str = "",
    since: float | None = None,
    until: float | None = None,
    store: str = "",
    archive: str = "",
    model: str = "",
    overrides: dict[str, str] | None = None,
) -> State[Any]:
    """Name the first faulty layer of an incident by its id, or of the requests between two times.

    Wraps `firstfault.recording.incident_run.diagnose_incident`, and returns its verdict and the place of its files. The
    verdict is also written into the incident; results are the MLflow experiment of the target or the model, artifacts
    of this flow run, and verdict.json and report.html in the state folder. Runs on every event
    `firstfault.incident.opened`. Locally: `firstfault incident ID --target TARGET`, which does the work in a process of
    its own and has this flow record it. A database by URL is named by `FIRSTFAULT_MONITOR_DATABASE`, since parameters
    are shown.

    Ends as the flow `debug` does.

    Args:
        incident: the incident's id, as `firstfault incident list` shows it; else say since and until.
        target: the target that is served, file.py:name: the offline truth for replays.
        since: requests from then on, in seconds since 1970, in place of an incident.
        until: requests to then, in seconds since 1970.
        store: the folder of the records; `monitor` in the state folder if empty.
        archive: where hourly Parquet lies, any path of fsspec; in the store if empty.
        model: with since, the requests of this model alone.
        overrides: settings of the target that are replaced, by name.
    """
    steps, told = TaskSteps(INCIDENT_NAMES), TOLD.get()
    if told is None:
        settings = IncidentSettings(
            incident, since, until, target, store, database_named(), archive, model, overrides or {}
        )
        return final_state(diagnose_incident(settings, steps))
    try:
        return final_state(told.debugged(steps))
    except Interrupted as error:
        return Cancelled(message=f"interrupted: {error}")


def database_named() -> str:
    """The monitor's database, where the environment names one."""
    import os

    return os.environ.get("FIRSTFAULT_MONITOR_DATABASE", "")
