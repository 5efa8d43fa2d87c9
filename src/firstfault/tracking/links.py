"""Addresses of MLflow runs that a browser can open."""

from __future__ import annotations

from firstfault.runs.processes import running
from firstfault.runs.state import State
from firstfault.tracking.runs import Tracker
from firstfault.tracking.view import VIEW, WORKFLOW


def run_url(state: State, tracker: Tracker, run_id: str | None, artifact: str = "") -> str | None:
    """The page of a run, or of one of its artifacts, in the MLflow UI; None when no MLflow server shows this store."""
    if run_id is None:
        return None
    server = server_url(state, tracker.uri)
    return f"{server}/{page_of(tracker, run_id, artifact)}" if server else None


def page_of(tracker: Tracker, run_id: str, artifact: str = "") -> str:
    """The page of a run, or of one of its artifacts, on whatever server shows it: what follows the server's address."""
    place = f"#/experiments/{tracker.experiment_id}/runs/{run_id}"
    return f"{place}/artifacts/{artifact}?{WORKFLOW}" if artifact else f"{place}?{WORKFLOW}"


def table_of(tracker: Tracker) -> str:
    """The table of the experiment's runs, on whatever server shows it."""
    return f"#/experiments/{tracker.experiment_id}/runs?viewStateShareKey={VIEW}&{WORKFLOW}"


def server_url(state: State, uri: str) -> str | None:
    """The MLflow server that shows a store: the tracking URI itself, or the one that `firstfault up` started."""
    if uri.startswith("http"):
        return uri.rstrip("/")
    service = running(state).get("mlflow")
    return service.url if service else None
