"""Where the last good checkpoint of a training goes."""

from __future__ import annotations

from firstfault.watcher.actions.actions import Checkpoint
from firstfault.watcher.actions.checkpoints import Checkpoints
from firstfault.watcher.actions.runner import Acting


def store_of(acting: Acting) -> Checkpoints:
    """That of the `Checkpoint` among the actions; without one, files alone."""
    action = next((action for action in acting.actions if isinstance(action, Checkpoint)), None) or Checkpoint()
    return action.store(acting.name, acting.folder, acting.later)
