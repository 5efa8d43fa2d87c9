"""MLflow's two servers behind firstfault's guard, as factories for uvicorn: one shows runs, one serves a model."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from firstfault.imports import uncollected
from firstfault.runs.access import AccessGuard
from firstfault.runs.login import login_of
from firstfault.runs.scripted_pages import ScriptedPages
from firstfault.runs.state import State
from firstfault.tracking.new_store import make_store
from firstfault.tracking.training_pages import PAGES, SCRIPT

LOGIN = "FIRSTFAULT_SCORING_LOGIN"
"""The login of one served model; it lives as long as the process."""


def tracking_server() -> AccessGuard:
    """The server and UI of the runs in the state folder that `FIRSTFAULT_HOME` names, as of `mlflow server`."""
    state = State(Path(os.environ["FIRSTFAULT_HOME"]))
    store, artifacts = state.own_store_uri, state.mlflow_artifacts.resolve().as_uri()
    os.environ.update(
        {
            "_MLFLOW_SERVER_FILE_STORE": store,
            "_MLFLOW_SERVER_ARTIFACT_ROOT": artifacts,
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
            "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(state.mlflow_artifacts),
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
    )
    from mlflow.server.fastapi_app import app  # reads these at import
    from mlflow.server.handlers import initialize_backend_stores

    make_store(store)
    initialize_backend_stores(store, store, artifacts)
    return AccessGuard(ScriptedPages(app, SCRIPT, PAGES.__contains__), login_of(state))


def scoring_server() -> AccessGuard:
    """MLflow's scoring server, as `mlflow models serve` starts it, for the package that standard input names.

    What takes long is imported before that is there.
    """
    login = os.environ.pop(LOGIN)
    with uncollected():
        from mlflow.pyfunc import load_model, scoring_server

        import firstfault.tracking.packaged_model  # noqa: F401

    package = sys.stdin.readline().strip()
    if not package:  # who started it has ended, or needs it no more
        sys.exit("no package was named")
    return AccessGuard(scoring_server.init(load_model(package, suppress_warnings=True)), login)
