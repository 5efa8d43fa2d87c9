"""What a training that still runs has to tell goes to MLflow at once: its checkpoints, and its safety over the epochs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from firstfault.tasks.recording import tracker_of
from prefect import get_run_logger

from firstfault import progress
from firstfault.session import RunRef
from firstfault.tracking.checkpoints import log_checkpoint


@contextlib.contextmanager
def following_the_training(run: RunRef) -> Iterator[None]:
    """Log checkpoints as logged models of the run, and safety scores at the step of their epoch, inside the block."""
    def follow(event: progress.Event) -> None:
        tracker, run_id = tracker_of(run), run.mlflow_run_id
        if run_id is None or not tracker.alive:
            return
        if isinstance(event, progress.Checkpointed):
            try:
                log_checkpoint(tracker, run_id, event)
            except Exception as error:
                get_run_logger().warning("the checkpoint %s did not reach MLflow: %s: %s", event.name, type(error).__name__, error)
        elif isinstance(event, progress.SafetyJudged) and not event.checkpointed:
            tracker.metrics(run_id, event.scores, step=event.epoch)

    with progress.listening(follow):
        yield
