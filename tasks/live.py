"""The progress artifact of a flow run: one, which follows the events of its tasks."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from uuid import UUID

from firstfault.tasks.outlet import Outlet
from prefect.artifacts import create_progress_artifact, update_progress_artifact

from firstfault import progress
from firstfault.report.markdown import escape

KEY = "progress"
EVERY_SECONDS = 1.0
"""At least between two updates of the progress, each of which is a call of Prefect's API."""


class RunProgress:
    """The share of a flow run that is done, and what it does now."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._artifact: UUID | None = None
        self._told = 0.0

    def begin(self) -> None:
        """Make the artifact."""
        self._artifact = self._outlet(create_progress_artifact, progress=0.0, key=KEY, description="begins")

    def end(self) -> None:
        """Say that all is done."""
        self._update(1.0, "done")

    @contextlib.contextmanager
    def following(self, start: float, end: float, what: str) -> Iterator[None]:
        """Follow what happens in the block, which leads from one share of the run to another."""

        def follow(event: progress.Event) -> None:
            share = share_of(event)
            if share is not None and time.monotonic() - self._told > EVERY_SECONDS:
                self._update(start + (end - start) * share[0], f"{what}: {share[1]}")

        with progress.listening(follow):
            yield
        self._update(end, f"{what}: done")

    def _update(self, share: float, text: str) -> None:
        if self._artifact is not None:
            self._told = time.monotonic()
            self._outlet(
                update_progress_artifact,
                artifact_id=self._artifact,
                progress=round(100 * share, 1),
                description=escape(text),
            )


def share_of(event: progress.Event) -> tuple[float, str] | None:
    """The share of a task that is done, 0–1, and what it does now; None for events that don't tell."""
    if isinstance(event, progress.CheckStarted):
        return event.done / max(event.total, 1), event.check
    if isinstance(event, progress.Step):
        return min(max(event.share, 0.0), 0.99), event.text
    return None
