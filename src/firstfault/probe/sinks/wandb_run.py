"""A training as a run in Weights & Biases while it runs."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import Any

import numpy as np

from firstfault.extras import expect_installed
from firstfault.probe.samples import BUCKETS

logger = logging.getLogger(__name__)


class WeightsAndBiases:
    """A run of its own in the project of the training's name, beside any that the script has.

    Scalars are of every sampled step; now and then histograms of gradients, weights and activations, and attention
    patterns as images. Where W&B can't be reached, or no key is configured, the run is kept offline in `wandb` of the
    training's folder.

    Args:
        project: its name; the training's when left out.
        mode: online or offline; as `WANDB_MODE` says when left out.
        folder: for W&B's files; the training's folder when left out.

    Raises:
        MissingExtra: when wandb is not installed.
    """

    wants_samples = True

    def __init__(
        self, project: str | None = None, *, mode: str | None = None, folder: str | Path | None = None
    ) -> None:
        expect_installed("wandb", "the sink wandb")
        import wandb

        self._wandb: Any = wandb
        self._project, self._mode, self._folder = project, mode, folder
        self._run: Any = None
        self._exit_code = 0

    def begin(self, name: str, folder: Path) -> None:
        """Open the run."""
        place = Path(self._folder or folder)
        place.mkdir(parents=True, exist_ok=True)
        try:
            self._run = self._open(name, place, self._mode)
        except Exception as error:
            if self._mode == "offline":
                raise
            logger.warning("W&B can't be reached (%s); the run is kept offline in %s", error, place / "wandb")
            self._run = self._open(name, place, "offline")

    def _open(self, name: str, folder: Path, mode: str | None) -> Any:
        settings = self._wandb.Settings(console="off", silent=True, login_timeout=1, init_timeout=30)
        return self._wandb.init(
            project=_project(self._project or name),
            name=folder.name,
            dir=str(folder),
            mode=mode,
            reinit="create_new",
            settings=settings,
        )

    def write(self, step: int, values: Any) -> None:
        """Take the values of a step."""
        shown = {name: self._shown(value) for name, value in values.items()}
        self._run.log({name: value for name, value in shown.items() if value is not None}, step=step)

    def _shown(self, value: Any) -> Any:
        if isinstance(value, list):
            from firstfault.probe.attention_image import image_of

            return self._wandb.Image(image_of(value))
        if isinstance(value, np.ndarray):
            finite = value[np.isfinite(value)]
            return self._wandb.Histogram(np_histogram=np.histogram(finite, BUCKETS)) if len(finite) else None
        return value

    def fail(self, reason: str) -> None:
        """Say that the loop raised."""
        self._exit_code = 1
        with contextlib.suppress(Exception):
            self._run.summary["firstfault.crash"] = reason[:500]

    def close(self) -> None:
        """End the run."""
        if self._run is not None:
            self._run.finish(exit_code=self._exit_code)


def _project(name: str) -> str:
    """A name that W&B takes: without the signs that it refuses, at most 128 long."""
    return "".join("-" if sign in "/\\#?%:" else sign for sign in name)[:128]
