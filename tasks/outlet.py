"""What a run tells Prefect beside its states: artifacts and events.

A server that no longer answers is told nothing more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from firstfault.runs.limits import within

T = TypeVar("T")
logger = logging.getLogger("firstfault.tasks")
SECONDS = 20.0
"""How long one call may take."""


class Outlet:
    """Calls to Prefect's API, each with a limit; after the first that fails, none is made."""

    def __init__(self) -> None:
        self.open = True

    def __call__(self, call: Callable[..., T], **values: object) -> T | None:
        """What `call(**values)` gives, or None."""
        if not self.open:
            return None
        try:
            return within(SECONDS, lambda: call(**values))
        except Exception as error:
            self.lose(error)
            return None

    def lose(self, error: BaseException) -> None:
        """Leave Prefect alone for the rest of the run."""
        if self.open:
            self.open = False
            logger.warning("Prefect no longer answers (%s); the run goes on without it", type(error).__name__)
