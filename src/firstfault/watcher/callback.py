"""A watch that a trainer's callback starts and stops."""

from __future__ import annotations

from typing import Any

from firstfault.watcher.watch import Watch, watch


class Watching:
    """One watch after another, each from `start` to `stop`; the arguments are those of `firstfault.watch`."""

    def __init__(self, name: str, settings: dict[str, Any]) -> None:
        self._name, self._settings = name, settings
        self._last: Watch | None = None
        self._on = False

    def start(self) -> None:
        """Watch from now on; a watch that was never stopped, as its training raised, ends here."""
        self.stop()
        self._last = watch(self._name, **self._settings).__enter__()
        if self._last.in_loop is not None:
            self._last.in_loop.raises = False  # the trainer is told to stop instead
        self._on = True

    def stop(self, crash: BaseException | None = None) -> None:
        """Watch no longer."""
        if self._on and self._last is not None:
            self._on = False
            self._last.__exit__(type(crash) if crash is not None else None, crash, None)

    @property
    def asks_for_the_end(self) -> bool:
        """Whether an action, or a violation of safety, asked for the end of the training."""
        return self._last is not None and bool(self._last.record.stopped)

    @property
    def watched(self) -> Watch:
        """The last watch.

        Raises:
            ValueError: when nothing was trained yet.
        """
        if self._last is None:
            raise ValueError("nothing was watched yet: the callback's trainer must train first")
        return self._last
