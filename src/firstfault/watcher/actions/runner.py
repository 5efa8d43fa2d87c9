"""Looks at a training while it runs, and lets the actions act on what failed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from torch import nn

from firstfault.errors import TrainingStopped, told
from firstfault.finding import Finding
from firstfault.probe.record import Record
from firstfault.watcher.actions.action_context import Action, Occasion
from firstfault.watcher.actions.background import Beside
from firstfault.watcher.actions.rules import Rules
from firstfault.watcher.actions.undisturbed import undisturbed

logger = logging.getLogger(__name__)
Models = Callable[[], Mapping[str, nn.Module]]


class Acting:
    """The actions of one training. `sampled()` is called after sampled steps, `close()` at the end.

    An action that raises is a warning, and the others act. Where one asks for the end, `sampled` raises
    `TrainingStopped` after them all, and again at every later call; with `raises=False` the reason only stands in
    `record.stopped`.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        root: Path,
        record: Record,
        models: Models,
        actions: Sequence[Action] = (),
        paused: Callable[[], AbstractContextManager[None]] | None = None,
    ) -> None:
        self.name, self.folder, self.record, self.models = name, folder, record, models
        self.raises = True
        self._actions, self._paused = list(actions), paused
        self._rules: Rules | None = Rules(name, folder, root) if actions else None
        self._beside = Beside()
        self.later = self._beside.later

    @property
    def actions(self) -> list[Action]:
        """What acts."""
        return self._actions

    def sampled(self) -> None:
        """Look at the rules, where that is due.

        Raises:
            TrainingStopped: when an action asked for the end.
        """
        if self._rules is not None and self._rules.due(self.record):
            with self.aside():
                for found in self._look(self._rules):
                    self.act(found)
                if self._rules is not None and self._rules.sound:
                    self._keep_sound()
        self.end_where_asked()

    def _look(self, rules: Rules) -> list[Finding]:
        try:
            return rules.look(self.record)
        except Exception as error:
            logger.warning("the rules are looked at no more: %s", told(error))
            self._rules = None
            return []

    def _keep_sound(self) -> None:
        for action in self._actions:
            if hasattr(action, "sound"):
                try:
                    action.sound(self.name, self.folder, self.models(), self.record)
                except Exception as error:
                    logger.warning("the action %s could keep nothing: %s", type(action).__name__, told(error))

    @contextmanager
    def aside(self) -> Iterator[None]:
        """A block that the training does not notice."""
        with self._paused() if self._paused is not None else nullcontext(), undisturbed(self.models().values()):
            yield

    def act(self, found: Finding) -> None:
        """Let every action act on a finding."""
        record = self.record
        occasion = Occasion(found, record.steps, record, self.models(), self.name, self.folder, self.stop, self.later)
        for action in self._actions:
            kind = type(action).__name__
            try:
                result = action.act(occasion)
            except Exception as error:
                logger.warning("the action %s failed on %s: %s", kind, found.check, told(error))
                result = f"it failed: {told(error)}"
            record.acts.append(
                {
                    "step": record.steps,
                    "check": found.check,
                    "message": found.message,
                    "action": kind,
                    "result": str(result) if result is not None else None,
                }
            )

    def stop(self, reason: str) -> None:
        """Ask for the end of the training; the first reason counts."""
        if not self.record.stopped:
            self.record.stopped, self.record.stopped_at = f"step {self.record.steps}: {reason}", self.record.steps

    def end_where_asked(self) -> None:
        """End the training where that was asked for.

        Raises:
            TrainingStopped: when it was.
        """
        if self.record.stopped and self.raises:
            raise TrainingStopped(self.record.stopped)

    def close(self) -> dict[str, str]:
        """Wait for what goes on beside the training; what was lost, and why."""
        return self._beside.close()
