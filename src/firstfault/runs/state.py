"""Where firstfault keeps what it makes, and the environment that its services read."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex

from firstfault.errors import FirstfaultError
from firstfault.output.whole_files import write_text

logger = logging.getLogger(__name__)
FOLDER = ".firstfault"
MLFLOW_MANNERS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""A server of MLflow that is gone holds nobody up for long, and its addresses stay out of what is printed."""


@dataclass(frozen=True)
class State:
    """The state folder, `.firstfault`: Prefect's home, the MLflow store, the Optuna journal, the runs."""

    home: Path

    @property
    def prefect_home(self) -> Path:
        """Prefect's database and profiles."""
        return self.home / "prefect"

    @property
    def mlflow_uri(self) -> str:
        """The MLflow tracking URI: `MLFLOW_TRACKING_URI`, or the SQLite store in this folder."""
        return os.environ.get("MLFLOW_TRACKING_URI") or self.own_store_uri

    @property
    def own_store(self) -> Path:
        """The SQLite store in this folder."""
        return self.home / "mlflow.db"

    @property
    def own_store_uri(self) -> str:
        """The tracking URI of the store in this folder."""
        return f"sqlite:///{self.own_store}"

    @property
    def keeps_own_store(self) -> bool:
        """Whether runs are recorded in this folder, not in a store that the user names."""
        return self.mlflow_uri == self.own_store_uri

    @property
    def mlflow_artifacts(self) -> Path:
        """Where the SQLite store's runs keep their artifacts."""
        return self.home / "mlartifacts"

    @property
    def journal(self) -> Path:
        """Optuna's journal of sweeps."""
        return self.home / "optuna.journal"

    @property
    def runs(self) -> Path:
        """One folder per debug run."""
        return self.home / "runs"

    @property
    def logs(self) -> Path:
        """The log files of `firstfault.logs.setup()`."""
        return self.home / "logs"

    @property
    def services(self) -> Path:
        """What `firstfault up` started, and its logs."""
        return self.home / "services"

    @property
    def target(self) -> Path:
        """The place of the target that was named last, as one line."""
        return self.home / "target"

    @property
    def login(self) -> Path:
        """The login of the servers that `firstfault up` starts, as one line `user:password`."""
        return self.home / "login"

    def make(self) -> None:
        """Make the folder if it isn't there, ignored by git, and close it to other users.

        Raises:
            FirstfaultError: when it can't be made (full disk, read-only folder).
        """
        try:
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._close()
            gitignore = self.home / ".gitignore"
            if not gitignore.exists():
                write_text(gitignore, "*\n")
            if self.keeps_own_store and not self.own_store.exists():
                self.own_store.touch(mode=0o600)  # what SQLite makes itself has the rights of the umask
        except OSError as error:
            raise FirstfaultError(f"the state folder {self.home} must be writable, but: {error.strerror}") from error

    def _close(self) -> None:
        if self.home.stat().st_mode & 0o077 == 0:
            return
        try:
            self.home.chmod(0o700)
        except PermissionError:
            logger.warning("the state folder %s belongs to another user, and stays open to others", self.home)

    def new_run(self) -> Path:
        """A new folder for one run.

        Raises:
            FirstfaultError: when it can't be made (full disk, read-only folder).
        """
        self.make()
        folder = self.runs / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{token_hex(2)}"
        try:
            folder.mkdir(mode=0o700, parents=True)
        except OSError as error:
            raise FirstfaultError(f"the state folder {self.home} must be writable, but: {error.strerror}") from error
        return folder


def state_here() -> State:
    """The state of the working folder, which every command uses, wherever its target lies."""
    return state_for(Path.cwd())


def state_for(folder: Path) -> State:
    """The state of a folder: `FIRSTFAULT_HOME`, else the nearest `.firstfault` in it or above, else a new one there.

    A `.firstfault` in a parent folder is shared by all folders below it, as a `.git` is, so that one
    `firstfault up` in a project's root serves every target of the project.
    """
    if override := os.environ.get("FIRSTFAULT_HOME"):
        return State(Path(override).expanduser().resolve())
    folder = folder.resolve()
    home = Path.home().resolve()
    for candidate in (folder, *folder.parents):
        if candidate == home and candidate != folder:
            break
        if (candidate / FOLDER).is_dir():
            return State(candidate / FOLDER)
    return State(folder / FOLDER)


def configure_environment(state: State) -> None:
    """Point Prefect and MLflow at this state, and switch their telemetry off. Call before importing them.

    Variables that the user has set win.
    """
    defaults = {
        "PREFECT_HOME": str(state.prefect_home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
        "DO_NOT_TRACK": "1",
        "GX_ANALYTICS_ENABLED": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_TRACKING_URI": state.mlflow_uri,
        **MLFLOW_MANNERS,
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "FIRSTFAULT_HOME": str(state.home),
        "YDATA_PROFILING_NO_ANALYTICS": "True",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
