"""The weights of a training as files, and as logged models of MLflow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from firstfault import progress
from firstfault.finding import plain
from firstfault.output.whole_files import replacing, write_json


class Checkpoints:
    """Writes checkpoints of one training: `<label>.pt` with the state of each model, `<label>.json` with step and
    metrics.

    A file with one model is its `state_dict`, with several a mapping of them by name; both load with
    `weights_only=True`. With `later`, the checkpoint is logged to MLflow beside the training.
    """

    def __init__(self, name: str, folder: Path, later: Callable[..., None] | None = None) -> None:
        self.name, self.folder, self._later = name, folder, later

    def write(
        self,
        label: str,
        models: Mapping[str, nn.Module],
        step: int,
        metrics: Mapping[str, float],
        *,
        epoch: int | None = None,
        shown: str = "",
    ) -> progress.Checkpointed:
        """Write a checkpoint, in the place of one with that label; `shown` is its name in MLflow."""
        self.folder.mkdir(parents=True, exist_ok=True)
        about = {"step": step, **({"epoch": epoch} if epoch is not None else {}), "metrics": dict(metrics)}
        path = self.folder / f"{label}.pt"
        with replacing(path) as draft, draft.open("wb") as file:
            torch.save(_states(models), file)
        write_json(self.folder / f"{label}.json", plain(about))
        return progress.Checkpointed(path, shown or label, step, dict(metrics), epoch)

    def tell(self, kept: progress.Checkpointed) -> None:
        """Log a checkpoint that was written, or let those log it who listen."""
        progress.emit(kept)
        if self._later is not None:
            self._send(kept)

    def _send(self, kept: progress.Checkpointed) -> None:
        from firstfault.tracking.checkpoints import log_from_a_loop

        assert self._later is not None
        self._later("a checkpoint for MLflow", log_from_a_loop, self.name, self.folder, kept, kept.path.read_bytes())


def _states(models: Mapping[str, nn.Module]) -> Any:
    states = {name: model.state_dict() for name, model in models.items()}
    return next(iter(states.values())) if len(states) == 1 else states
