"""The MLflow run tree of one debug run: a parent, a child per layer, a grandchild per trial."""

from __future__ import annotations

import functools
import json
import logging
import math
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from firstfault.output.escaping import visible
from firstfault.runs.limits import within
from firstfault.texts import encodable, shown

if TYPE_CHECKING:
    from mlflow import MlflowClient


logger = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")
BATCH = 900
"""Values in a call: MLflow takes 1,000 at most."""
CALL_SECONDS, FILES_SECONDS = 20.0, 120.0
"""How long the store may take for an entry, and for the files of a run."""

LONGEST_NAME, LONGEST_DATASET, LONGEST_TAG = 250, 500, 5000
"""Characters that every store of MLflow takes for the names of experiments, runs and data sets, and for tags."""


def _guarded(
    method: Callable[Concatenate[Tracker, P], None], seconds: float = CALL_SECONDS
) -> Callable[Concatenate[Tracker, P], None]:
    """Recording must neither end a debug run nor hold it up: the first failure is logged, and recording stops."""

    @functools.wraps(method)
    def record(self: Tracker, /, *args: P.args, **kwargs: P.kwargs) -> None:
        self.attempt(lambda: method(self, *args, **kwargs), seconds)

    return record


_of_files = functools.partial(_guarded, seconds=FILES_SECONDS)


@dataclass
class Tracker:
    """One experiment in one MLflow store. Run ids are passed explicitly: the active run is thread-local."""

    client: MlflowClient
    experiment_id: str
    uri: str
    alive: bool = True
    lost: str = ""

    def start(
        self, name: str, parent: str | None = None, tags: Mapping[str, object] | None = None, *, at: float | None = None
    ) -> str:
        """Create a run, below `parent` if given; its id, or "" when the store no longer answers.

        `at` is when it began, in seconds since 1970, if that was earlier.
        """
        links = {"mlflow.parentRunId": parent} if parent else {}
        owner = {"firstfault.host": socket.gethostname(), "firstfault.pid": str(os.getpid())}
        made = _texts({**links, **owner, **(tags or {})})
        run = self.attempt(
            lambda: self.client.create_run(
                self.experiment_id, _milliseconds(at), run_name=visible(name)[:LONGEST_NAME], tags=made
            )
        )
        return str(run.info.run_id) if run is not None else ""

    def attempt(self, call: Callable[[], T], seconds: float = CALL_SECONDS) -> T | None:
        """What a call to the store gives; None when the store is lost, or is lost by this call."""
        if not self.alive:
            return None
        try:
            return within(seconds, call)
        except Exception as error:
            self._lose(error)
            return None

    def _lose(self, error: Exception) -> None:
        self.alive, self.lost = False, brief(error)
        logger.warning("MLflow no longer answers (%s); the run goes on without it", self.lost)

    @_guarded
    def metrics(self, run_id: str, values: Mapping[str, float], step: int = 0) -> None:
        """Log numbers at one step; values that are not finite are left out."""
        self.series(run_id, {name: [(step, value)] for name, value in values.items()})

    @_guarded
    def series(self, run_id: str, series: Mapping[str, Sequence[tuple[int, float]]], *, with_nan: bool = False) -> None:
        """Log whole curves in batches, (step, value) per name; what is not finite is left out, or logged as NaN."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        points = [
            Metric(_key(name), float(value) if math.isfinite(value) else math.nan, now, int(step))
            for name, curve in series.items()
            for step, value in curve
            if value is not None and (with_nan or math.isfinite(value))
        ]
        for start in range(0, len(points), BATCH):
            self.client.log_batch(run_id, metrics=points[start : start + BATCH])

    @_guarded
    def params(self, run_id: str, values: Mapping[str, object]) -> None:
        """Log parameters as text."""
        from mlflow.entities import Param

        texts = {_key(name): visible(shown(value, str))[:500] for name, value in values.items()}
        self.client.log_batch(run_id, params=[Param(name, text) for name, text in texts.items()])

    @_guarded
    def tags(self, run_id: str, values: Mapping[str, object]) -> None:
        """Set tags; None is left out."""
        from mlflow.entities import RunTag

        self.client.log_batch(run_id, tags=[RunTag(name, text) for name, text in _texts(values).items()])

    @_guarded
    def rename(self, run_id: str, name: str) -> None:
        """Give a run another name."""
        self.client.update_run(run_id, name=visible(name)[:LONGEST_NAME])

    @_guarded
    def of_experiment(self, tags: Mapping[str, str]) -> None:
        """Set tags of the experiment."""
        for name, text in _texts(tags).items():
            self.client.set_experiment_tag(self.experiment_id, name, text)

    @_of_files
    def files(self, run_id: str, paths: Sequence[Path], below: str = "") -> None:
        """Log files and folders as artifacts, in the folder `below` among them; those that don't exist are left out."""
        for path in paths:
            if path.is_dir():
                self.client.log_artifacts(run_id, str(path), f"{below}/{path.name}".lstrip("/"))
            elif path.is_file():
                self.client.log_artifact(run_id, str(path), below or None)

    @_of_files
    def text(self, run_id: str, name: str, text: str) -> None:
        """Log a text as an artifact."""
        self.client.log_text(run_id, text, name)

    @_of_files
    def model(self, run_id: str, name: str, folder: Path) -> None:
        """Log a saved MLflow package as a logged model of the run; it loads as `models:/<its id>`."""
        from mlflow.entities import LoggedModelOutput

        model = self.client.create_logged_model(self.experiment_id, name=name, source_run_id=run_id)
        self.client.log_model_artifacts(model.model_id, str(folder))
        self.client.finalize_logged_model(model.model_id, "READY")
        self.client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 0)])

    @_guarded
    def dataset(self, run_id: str, name: str, digest: str, source: str, rows: int, context: str) -> None:
        """Log a data set as an input of the run."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        entity = Dataset(
            name=visible(name)[:LONGEST_DATASET],
            digest=digest,
            source_type="local",
            source=json.dumps({"uri": source}),
            profile=json.dumps({"num_rows": rows}),
        )
        self.client.log_inputs(run_id, datasets=[DatasetInput(entity, [InputTag("mlflow.data.context", context)])])

    @_guarded
    def end(self, run_id: str, status: str = "FINISHED", at: float | None = None) -> None:
        """End a run, FINISHED, FAILED or KILLED, now or as of an earlier time."""
        self.client.set_terminated(run_id, status, _milliseconds(at))


def _milliseconds(at: float | None) -> int | None:
    return None if at is None else int(at * 1000)


def bury_killed(tracker: Tracker) -> list[str]:
    """Mark the experiment's runs whose process on this host has died as KILLED; their ids."""
    import psutil

    running = tracker.client.search_runs(
        [tracker.experiment_id], filter_string="attributes.status = 'RUNNING'", max_results=500
    )
    dead = []
    for run in running:
        tags = run.data.tags
        here = tags.get("firstfault.host") == socket.gethostname()
        pid = int(tags.get("firstfault.pid", 0))
        if here and pid != os.getpid() and not psutil.pid_exists(pid):
            tracker.client.set_terminated(run.info.run_id, "KILLED")
            tracker.client.set_tag(run.info.run_id, "firstfault.status", "killed")
            dead.append(str(run.info.run_id))
    return dead


def _texts(values: Mapping[str, object]) -> dict[str, str]:
    return {
        encodable(name): visible(shown(value, str))[:LONGEST_TAG] for name, value in values.items() if value is not None
    }


def _key(name: str) -> str:
    """A name of a metric or parameter that MLflow takes: it is a path to it, which must lead nowhere else."""
    plain = "".join(letter if letter.isalnum() or letter in "_-. /:" else "_" for letter in name)[:240]
    path = "/".join(part if part.strip(".") else "_" * max(1, len(part)) for part in plain.split("/"))
    return f"__{path[2:]}" if path.startswith("..") else path


def brief(error: Exception) -> str:
    """What an error of MLflow says, in a few words: without the address, SQL, or advice for programmers."""
    text = str(error).strip()
    if any(
        sign in text for sign in ("Connection refused", "RemoteDisconnected", "Connection reset", "Connection aborted")
    ):
        return "nothing listens there any more"
    if "timed out" in text:
        return "no answer in time"
    if isinstance(error, TimeoutError):
        return text
    lines = [line for line in text.splitlines() if not line.startswith(("[SQL", "(Background"))]
    return f"{type(error).__name__}: {lines[0][:160] if lines else ''}"
