"""A training as a task in ClearML while it runs, or as a session on disk that can be imported later."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from firstfault.extras import expect_installed
from firstfault.probe.samples import BUCKETS

SERVER = ("CLEARML_API_HOST", "CLEARML_API_ACCESS_KEY", "CLEARML_CONFIG_FILE", "TRAINS_API_HOST")
"""Variables of which one names a server; else `clearml.conf` in the home folder does."""
FRAMEWORKS = (
    "matplotlib", "tensorflow", "tensorboard", "pytorch", "xgboost", "scikit", "fastai", "lightgbm", "hydra",
    "catboost", "joblib", "megengine", "jsonargparse", "gradio", "fire", "detect_repository",
)  # fmt: skip
"""What ClearML would patch, or search the disk for; the training is left alone."""


class ClearML:
    """A task in the project of the training's name; where the script has a task of its own, its scalars go there.

    Scalars are of every sampled step; now and then histograms of gradients, weights and activations, and attention
    patterns as images. ClearML has no NaN and no infinities: they are left out. Where no server is configured, the
    task is kept offline in `clearml` of the training's folder, for `clearml.Task.import_offline_session`.

    Args:
        project: its name; the training's when left out.
        offline: keep the task on disk; left out, where no server is configured.

    Raises:
        MissingExtra: when clearml is not installed.
    """

    wants_samples = True

    def __init__(self, project: str | None = None, *, offline: bool | None = None) -> None:
        expect_installed("clearml", "the sink clearml")
        import clearml

        self._clearml: Any = clearml
        self._project, self._offline = project, not _is_configured() if offline is None else offline
        self._task: Any = None
        self._own = False

    def begin(self, name: str, folder: Path) -> None:
        """Open the task, or take the script's."""
        self._folder = folder
        self._task = self._clearml.Task.current_task()
        if self._task is None:
            self._task, self._own = self._opened(name), True
        self._log = self._task.get_logger()

    def _opened(self, name: str) -> Any:
        if self._offline and not self._clearml.Task.is_offline():
            self._clearml.Task.set_offline(True)  # for the process: going back would ask for a server
        return self._clearml.Task.init(
            project_name=self._project or name,
            task_name=name,
            reuse_last_task_id=False,
            auto_connect_arg_parser=False,
            auto_connect_frameworks=dict.fromkeys(FRAMEWORKS, False),
            auto_resource_monitoring=False,
            auto_connect_streams=False,
        )

    def write(self, step: int, values: Any) -> None:
        """Take the values of a step."""
        for name, value in values.items():
            self._report(*_title(name), value, step)

    def _report(self, title: str, series: str, value: Any, step: int) -> None:
        if isinstance(value, list):
            from firstfault.probe.attention_image import image_of

            self._log.report_image(title, series, iteration=step, image=image_of(value))
        elif isinstance(value, np.ndarray):
            finite = value[np.isfinite(value)]
            if len(finite):
                counts, edges = np.histogram(finite, BUCKETS)
                labels = [f"{edge:.3g}" for edge in edges[:-1]]
                self._log.report_histogram(title, series, values=counts, iteration=step, xlabels=labels)
        elif math.isfinite(value):
            self._log.report_scalar(title, series, value=float(value), iteration=step)

    def fail(self, reason: str) -> None:
        """Say that the loop raised."""
        with contextlib.suppress(Exception):
            self._log.report_text(f"firstfault: {reason[:500]}")
            if self._own:
                self._task.mark_failed(status_message=reason[:500], force=True)

    def close(self) -> None:
        """End a task of its own; one that is offline is laid into the training's folder."""
        if self._task is None or not self._own:
            return
        session = self._task.get_offline_mode_folder() if self._clearml.Task.is_offline() else None
        self._task.close()
        if session is not None:
            place = self._folder / "clearml"
            place.mkdir(parents=True, exist_ok=True)
            packed = Path(f"{session}.zip")
            shutil.move(packed, place / packed.name)
            shutil.rmtree(session, ignore_errors=True)


def _is_configured() -> bool:
    return any(os.environ.get(name) for name in SERVER) or Path("~/clearml.conf").expanduser().is_file()


def _title(name: str) -> tuple[str, str]:
    """ClearML's two names of a curve: the chart, and the line in it."""
    title, _, series = name.partition("/")
    return title, series or title
