"""Addresses of MLflow runs that a browser can open."""

from __future__ import annotations

from firstfault.runs.processes import running
from firstfault.runs.state import State
from firstfault.tracking.runs import Tracker


def run_url(state: State, tracker: Tracker, run_id: str | None) -> str | None:
    """The page of a run in the MLflow UI; None when no MLflow server shows this store."""
    if run_id is None:
        return None
    server = server_url(state, tracker.uri)
    return f"{server}/#/experiments/{tracker.experiment_id}/runs/{run_id}" if server else None


def server_url(state: State, uri: str) -> str | None:
    """The MLflow server that shows a store: the tracking URI itself, or the one that `firstfault up` started."""
    if uri.startswith("http"):
        return uri.rstrip("/")
    service = running(state).get("mlflow")
    return service.url if service else None
