"""A progress artifact that follows the events of a long task."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from firstfault.tasks.outlet import Outlet
from prefect.artifacts import create_progress_artifact, update_progress_artifact

from firstfault import progress
from firstfault.report.markdown import escape

EVERY_SECONDS = 1.0


@contextlib.contextmanager
def progress_artifact(key: str, outlet: Outlet) -> Iterator[None]:
    """Keep a progress artifact named `key` up to date inside the block; it ends at 100 when the block succeeds."""
    artifact = outlet(create_progress_artifact, progress=0.0, key=key, description="begins")
    told = time.monotonic()

    def follow(event: progress.Event) -> None:
        nonlocal told
        share = share_of(event)
        if artifact is not None and share is not None and time.monotonic() - told > EVERY_SECONDS:
            told = time.monotonic()
            outlet(
                update_progress_artifact,
                artifact_id=artifact,
                progress=round(100 * share[0], 1),
                description=escape(share[1]),
            )

    with progress.listening(follow):
        yield
    if artifact is not None:
        outlet(update_progress_artifact, artifact_id=artifact, progress=100.0, description="done")


def share_of(event: progress.Event) -> tuple[float, str] | None:
    """The share of a task that is done, 0–1, and what it does now; None for events that don't tell."""
    if isinstance(event, progress.CheckStarted):
        return event.done / max(event.total, 1), event.check
    if isinstance(event, progress.Step):
        return min(max(event.share, 0.0), 0.99), event.text
    return None
