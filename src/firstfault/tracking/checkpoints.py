"""Checkpoints as logged models of MLflow, with their step and metrics.

`mlflow.search_logged_models(experiment_ids=[…], order_by=[{"field_name": "metrics.safety_score", "ascending":
False}])` ranks them. One costs 30–50 ms on the SQLite store: the weights are logged as they are, not packaged.
"""

from __future__ import annotations

import math
import tempfile
import time
from pathlib import Path

from firstfault.finding import plain
from firstfault.output.whole_files import write_bytes, write_json
from firstfault.progress import Checkpointed
from firstfault.runs.state import state_here
from firstfault.tracking.runs import Tracker
from firstfault.tracking.store import open_tracker, prepare_store

_runs: dict[tuple[str, str], tuple[Tracker, str]] = {}


def prepare() -> None:
    """Import MLflow and make the store before a training, not beside it; what is wrong with it is said later."""
    import contextlib

    with contextlib.suppress(Exception):
        prepare_store(state_here())


def log_checkpoint(tracker: Tracker, run_id: str, kept: Checkpointed, weights: bytes | None = None) -> str:
    """Log a checkpoint as a logged model of a run; its id.

    `weights` are those of its file, where it may change meanwhile.
    """
    from mlflow.entities import LoggedModelOutput, Metric

    client, epoch = tracker.client, {} if kept.epoch is None else {"epoch": str(kept.epoch)}
    model = client.create_logged_model(
        tracker.experiment_id,
        name=kept.name,
        source_run_id=run_id,
        params={"step": str(kept.step), **epoch},
        tags={"firstfault.kind": "checkpoint"},
        model_type="checkpoint",
    )
    with tempfile.TemporaryDirectory() as folder:
        write_bytes(Path(folder) / "weights.pt", kept.path.read_bytes() if weights is None else weights)
        write_json(
            Path(folder) / "checkpoint.json",
            plain({"step": kept.step, "epoch": kept.epoch, "metrics": kept.metrics}),
            indent=None,
        )
        client.log_model_artifacts(model.model_id, folder)
    client.finalize_logged_model(model.model_id, "READY")
    now, step = int(time.time() * 1000), kept.step if kept.epoch is None else kept.epoch
    metrics = [
        Metric(name, float(value), now, step, model_id=model.model_id)
        for name, value in kept.metrics.items()
        if math.isfinite(value)
    ]
    client.log_batch(run_id, metrics=metrics)
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step)])
    return str(model.model_id)


def log_from_a_loop(name: str, folder: Path, kept: Checkpointed, weights: bytes) -> None:
    """Log a checkpoint of a loop that is no debug run: in the experiment of its name, in one run for each folder."""
    key = (name, str(folder))
    if key not in _runs:
        tracker = open_tracker(state_here(), name)
        tags = {"firstfault.kind": "checkpoints", "firstfault.run_folder": str(folder.parent)}
        _runs[key] = tracker, tracker.start(f"checkpoints {folder.parent.name}", tags=tags)
    tracker, run_id = _runs[key]
    log_checkpoint(tracker, run_id, kept, weights)
    tracker.end(run_id)  # each checkpoint may be the last
