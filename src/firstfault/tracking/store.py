"""The MLflow store of a state folder: looked at before it is used, opened, and made where it isn't there."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, cast

from firstfault.errors import MissingExtra, PrerequisiteError
from firstfault.extras import needs_extra
from firstfault.imports import uncollected
from firstfault.output.escaping import visible
from firstfault.runs.limits import within
from firstfault.runs.login import log_in
from firstfault.runs.processes import accepts, answers
from firstfault.runs.state import MLFLOW_MANNERS, State
from firstfault.tracking.new_store import OF_FILE, make_store
from firstfault.tracking.runs import LONGEST_NAME, Tracker, brief
from firstfault.tracking.view import KIND

if TYPE_CHECKING:
    from mlflow import MlflowClient


OPEN_SECONDS = 60.0
"""How long the store may take to be opened, when it may have to be made."""
LOCK_SECONDS = PATIENCE_SECONDS = 5.0
"""How long another may hold the file of the store, and a server may think, before a run is refused for it."""
NOISY = {
    "alembic": logging.WARNING,
    "mlflow": logging.WARNING,
    "mlflow.store.db.utils": logging.CRITICAL,
    "urllib3.connectionpool": logging.ERROR,
}


def prepare_store(state: State) -> None:
    """Import MLflow, and make the state's own store if it isn't there.

    That takes seconds, which are better spent before a training than beside it.

    Raises:
        PrerequisiteError: when its file can't be written.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    _quiet()
    from mlflow import MlflowClient

    if state.mlflow_uri.startswith("sqlite:"):
        state.make()
        expect_store(state)
        make_store(state.mlflow_uri)
        MlflowClient(tracking_uri=state.mlflow_uri).search_experiments(max_results=1)


def open_tracker(state: State, experiment: str) -> Tracker:
    """The experiment of a target in the state's MLflow store, made if it isn't there.

    Raises:
        PrerequisiteError: when the store doesn't answer.
        MissingExtra: where MLflow, or what it needs, is not installed.
    """
    uri, experiment = state.mlflow_uri, visible(experiment)[:LONGEST_NAME]
    expect_store(state)
    log_in(state)
    _quiet()
    try:
        with uncollected():  # and outside of the limit, which is the store's
            import mlflow  # noqa: F401
        return within(OPEN_SECONDS, lambda: _open(state, uri, experiment))
    except ImportError as error:
        raise _lacking(error) from error
    except Exception as error:
        raise PrerequisiteError(
            f"MLflow must answer at {uri}, but it does not ({brief(error)}); {_advice(state)}"
        ) from error


def _lacking(error: ImportError) -> MissingExtra:
    if error.name == "mlflow":
        return needs_extra("mlflow", "recording in MLflow")
    return MissingExtra(f"MLflow must be importable, but is not ({brief(error)}): pip install 'firstfault[pipeline]'")


def lost_tracker(state: State, why: str) -> Tracker:
    """A tracker that records nothing, since the store could not be opened."""
    return Tracker(cast("MlflowClient", None), "", state.mlflow_uri, alive=False, lost=why)


def expect_store(state: State) -> None:
    """Look whether the store can be used at all, within seconds, before MLflow tries it again and again.

    Raises:
        PrerequisiteError: when nothing answers there, or its file can't be written.
    """
    uri = state.mlflow_uri
    if uri.startswith("http") and not answers(uri, PATIENCE_SECONDS, refusals=True):
        raise PrerequisiteError(f"MLflow must answer at {uri}, but {_silence(uri)}; {_advice(state)}")
    if uri.startswith(OF_FILE) and (why_not := _why_no_file(uri.removeprefix(OF_FILE).partition("?")[0])):
        raise PrerequisiteError(
            f"MLflow's store {uri} must be a file that can be written, but: {why_not}; {_advice(state)}"
        )


def _silence(uri: str) -> str:
    return "nothing listens there" if not accepts(uri) else "it takes connections without a word"


def _advice(state: State) -> str:
    own = state.mlflow_uri.startswith("sqlite:")
    named = bool(os.environ.get("MLFLOW_TRACKING_URI")) and str(state.home) not in state.mlflow_uri
    if own:
        return (
            "set MLFLOW_TRACKING_URI to another place, or unset it"
            if named
            else "move this file away, and a new one is made"
        )
    return "start it, or unset MLFLOW_TRACKING_URI"


def _why_no_file(path: str) -> str:
    """Why SQLite can't write to a file, or nothing; a file that is absent is not made."""
    if not path:
        return ""
    if not Path(path).exists():
        # MLflow makes those between
        folder = next(folder for folder in Path(path).absolute().parents if folder.exists())
        return "" if _is_writable(folder) else f"nothing can be written in {folder}"
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=LOCK_SECONDS)) as connection:
            connection.execute("begin immediate")
            connection.rollback()
    except sqlite3.Error as error:
        return str(error)
    return ""


def _is_writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _open(state: State, uri: str, experiment: str) -> Tracker:
    from mlflow import MlflowClient

    make_store(uri)
    with uncollected():  # the store's own imports
        client = MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(experiment)
    if found is not None and found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return Tracker(client, found.experiment_id if found else _create(client, state, experiment), uri)


def _create(client: MlflowClient, state: State, experiment: str) -> str:
    local = state.mlflow_uri.startswith("sqlite:")
    location = state.mlflow_artifacts.resolve().as_uri() if local else None
    return str(client.create_experiment(experiment, artifact_location=location, tags=KIND))


def _quiet() -> None:
    """Keep MLflow's retries, migrations and addresses out of our lines; what goes wrong is said by us."""
    for variable, value in MLFLOW_MANNERS.items():
        os.environ.setdefault(variable, value)
    for logger_name, level in NOISY.items():
        logging.getLogger(logger_name).setLevel(level)
