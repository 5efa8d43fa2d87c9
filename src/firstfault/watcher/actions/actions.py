"""The actions that come with firstfault: log, alert, checkpoint, stop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from firstfault.errors import TargetError
from firstfault.extras import expect_installed
from firstfault.finding import Finding
from firstfault.output.escaping import visible
from firstfault.probe.record import Record
from firstfault.progress import Checkpointed
from firstfault.runs.prefect_events import emit
from firstfault.watcher.actions.action_context import Occasion
from firstfault.watcher.actions.checkpoints import Checkpoints

logger = logging.getLogger(__name__)
EVENT = "firstfault.finding.failed"
OF_TIME = "input_bottleneck"
Callback = Callable[[Finding, int, Record], Any]


class Log:
    """Writes a warning to the logger `firstfault`, which shows on stderr where nothing else is set up."""

    def act(self, occasion: Occasion) -> None:
        """Log the finding."""
        found = occasion.finding
        place = f" ({found.where})" if found.where else ""
        logger.warning("%s", visible(f"{occasion.name}, step {occasion.step}: {found.check}: {found.message}{place}"))


class Alert:
    """Calls `callback(finding, step, record)`, emits a Prefect event for automations, or both.

    The event is sent in a thread beside the training, to the server of `PREFECT_API_URL` or of `firstfault up`. Where
    there is none, or it does not answer, that is a warning.

    Raises:
        TargetError: when neither is given.
    """

    def __init__(self, callback: Callback | None = None, *, event: str | None = None) -> None:
        if (callback is None and not event) or not (callback is None or callable(callback)):
            raise TargetError(
                f"Alert must be given a callback(finding, step, record) or an event's name, but got {callback!r}"
            )
        self._callback, self._event = callback, event

    def act(self, occasion: Occasion) -> str | None:
        """Tell of the finding."""
        if self._callback is not None:
            self._callback(occasion.finding, occasion.step, occasion.record)
        if self._event is not None:
            payload = {"step": occasion.step, "training": occasion.name, **occasion.finding.to_json()}
            occasion.later(f"the event {self._event}", emit, self._event, occasion.name, payload)
        return self._event


class Checkpoint:
    """Keeps the weights of the models at the finding as `step_<n>.pt`, in `checkpoints` of the training's folder.

    Those at the last look at the rules that found nothing wrong are `last_sound.pt`: a checkpoint to go back to. A look
    is at most every 1,000 steps, and at least every 50.

    Args:
        folder: another place for the files.
        last_sound: whether to keep that one too.
        mlflow: log them at a finding as logged models of MLflow, with step and metrics, in a thread beside the
            training. A debug run logs them anyway.
    """

    def __init__(self, folder: str | Path | None = None, *, last_sound: bool = True, mlflow: bool = False) -> None:
        self._folder = Path(folder) if folder is not None else None
        self._last_sound, self._mlflow = last_sound, mlflow
        self._sound: Checkpointed | None = None
        if mlflow:
            expect_installed("mlflow", "Checkpoint(mlflow=True)")
            from firstfault.tracking.checkpoints import prepare

            prepare()

    def act(self, occasion: Occasion) -> str:
        """Keep the weights."""
        kept = self.store(occasion.name, occasion.folder, occasion.later)
        if self._sound is not None:
            kept.tell(self._sound)
            self._sound = None
        written = kept.write(f"step_{occasion.step}", occasion.models, occasion.step, last_metrics(occasion.record))
        kept.tell(written)
        return str(written.path)

    def sound(self, name: str, folder: Path, models: Mapping[str, nn.Module], record: Record) -> None:
        """Keep the weights of a training in which nothing is wrong so far."""
        if self._last_sound:
            self._sound = self.store(name, folder).write("last_sound", models, record.steps, last_metrics(record))

    def store(self, name: str, folder: Path, later: Callable[..., None] | None = None) -> Checkpoints:
        """Where the checkpoints of a training go."""
        return Checkpoints(name, self._folder or folder / "checkpoints", later if self._mlflow else None)


class Stop:
    """Ends the training; findings about time alone, such as a slow loader, do not.

    A watched loop is left by `firstfault.TrainingStopped`, which ends at the `with` block; Lightning and the Hugging
    Face Trainer are told to stop, and firstfault's own loop runs no further step.
    """

    def act(self, occasion: Occasion) -> None:
        """Ask for the end."""
        found = occasion.finding
        if set(found.faults) != {OF_TIME}:
            occasion.stop(f"{found.check}: {found.message}")


def last_metrics(record: Record) -> dict[str, float]:
    """The last loss, validation loss and gradient norm of a record."""
    series = {"loss": record.loss, "validation_loss": record.validation_loss, "grad_norm": record.grad_norm}
    return {name: found.last[1] for name, found in series.items() if len(found)}
