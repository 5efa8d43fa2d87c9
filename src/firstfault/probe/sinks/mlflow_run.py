"""A training as a run in MLflow while it runs, its numbers sent in batches."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

from firstfault.extras import expect_installed
from firstfault.probe.samples import Spacing
from firstfault.probe.sinks.base import Lost
from firstfault.runs.state import state_here
from firstfault.tracking.runs import BATCH
from firstfault.tracking.store import open_tracker, prepare_store

SECONDS = 5.0
"""At most between two sendings, where fewer than a full batch waits."""
OVERALL = ("loss", "lr", "grad_norm", "update_ratio", "safety_score", "capability_score", "alignment_tax")


class MLflow:
    """A run in the experiment of the training's name, in the store of `MLFLOW_TRACKING_URI` or of firstfault.

    Loss, learning rate, gradient norm and update ratio are of every sampled step; those of each layer are sent when the
    steps have grown by a tenth, since a store keeps up with no more. Points go out 900 at a time, or every 5 seconds.
    MLflow shows NaN for infinities.

    Args:
        experiment: its name; the training's when left out.

    Raises:
        MissingExtra: when mlflow is not installed.
    """

    def __init__(self, experiment: str | None = None) -> None:
        expect_installed("mlflow", "the sink mlflow")
        self._experiment, self._state = experiment, state_here()
        self._layers = Spacing()
        self._points: dict[str, list[tuple[int, float]]] = {}
        self._steps = self._waiting = 0
        self._status = ("FINISHED", "ended")
        self._run = ""
        with contextlib.suppress(Exception):  # what is wrong with the store is said when the run is opened
            prepare_store(self._state)

    def begin(self, name: str, folder: Path) -> None:
        """Open the run."""
        self._tracker = open_tracker(self._state, self._experiment or name)
        tags = {"firstfault.kind": "watch", "firstfault.status": "running", "firstfault.run_folder": str(folder)}
        self._run = self._tracker.start(f"watch {folder.name}", tags=tags)
        self._sent = time.monotonic()
        self._check()

    def write(self, step: int, values: Any) -> None:
        """Take the values of a step, and send what waits when it is enough."""
        layers = self._layers.reached(step)
        for name, value in values.items():
            if isinstance(value, float | int) and (layers or name in OVERALL):
                self._points.setdefault(name, []).append((step, value))
                self._waiting += 1
        if self._waiting >= BATCH or time.monotonic() - self._sent > SECONDS:
            self._send()
        else:
            self._steps += 1

    def _send(self) -> None:
        points, self._points, self._waiting = self._points, {}, 0
        self._tracker.series(self._run, points, with_nan=True)
        self._check()
        self._steps, self._sent = 0, time.monotonic()

    def _check(self) -> None:
        if not self._tracker.alive:
            steps, self._steps = self._steps, 0
            raise Lost(f"MLflow no longer answers ({self._tracker.lost})", steps)

    def fail(self, reason: str) -> None:
        """Say that the loop raised."""
        self._status = ("FAILED", "crashed")
        self._tracker.tags(self._run, {"firstfault.crash": reason[:500]})

    def close(self) -> None:
        """Send the rest, and end the run."""
        if not self._run:
            return
        self._send()
        self._tracker.tags(self._run, {"firstfault.status": self._status[1]})
        self._tracker.end(self._run, self._status[0])
