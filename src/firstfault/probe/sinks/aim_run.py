"""A training as a run in Aim while it runs, in a repository on disk: nothing of it needs a server."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np

from firstfault.extras import expect_installed
from firstfault.probe.samples import BUCKETS
from firstfault.runs.state import state_here


class Aim:
    """A run in the experiment of the training's name; `aim up --repo .firstfault` shows all of them.

    Scalars are of every sampled step; now and then distributions of gradients, weights and activations, and attention
    patterns as images.

    Args:
        repo: a folder, or the address `aim://HOST:PORT` of a server; the state folder when left out.
        experiment: its name; the training's when left out.

    Raises:
        MissingExtra: when aim is not installed.
    """

    wants_samples = True

    def __init__(self, repo: str | Path | None = None, *, experiment: str | None = None) -> None:
        expect_installed("aim", "the sink aim")
        import aim

        self._aim: Any = aim
        self._repo, self._experiment = repo, experiment
        self._run: Any = None

    def begin(self, name: str, folder: Path) -> None:
        """Open the run."""
        self._run = self._aim.Run(
            repo=self._opened(),
            experiment=self._experiment or name,
            system_tracking_interval=None,
            log_system_params=False,
            capture_terminal_logs=False,
        )
        self._run.name = folder.name
        self._run["firstfault"] = {"run_folder": str(folder)}

    def _opened(self) -> Any:
        """The repository, made where a folder has none."""
        if self._repo is not None and "://" in str(self._repo):
            return str(self._repo)
        place = Path(self._repo or state_here().home)
        place.mkdir(parents=True, exist_ok=True)
        return self._aim.Repo.from_path(str(place), init=True)

    def write(self, step: int, values: Any) -> None:
        """Take the values of a step."""
        for name, value in values.items():
            shown = self._shown(value)
            if shown is not None:
                self._run.track(shown, name=name, step=step)

    def _shown(self, value: Any) -> Any:
        if isinstance(value, list):
            from firstfault.probe.attention_image import image_of

            return self._aim.Image(image_of(value))
        if isinstance(value, np.ndarray):
            finite = value[np.isfinite(value)]
            return self._aim.Distribution(samples=finite, bin_count=BUCKETS) if len(finite) else None
        return float(value)

    def fail(self, reason: str) -> None:
        """Say that the loop raised."""
        with contextlib.suppress(Exception):
            self._run["firstfault_crash"] = reason[:500]

    def close(self) -> None:
        """End the run."""
        if self._run is not None:
            self._run.close()
