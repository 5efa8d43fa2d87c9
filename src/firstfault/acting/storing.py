"""Where the last good checkpoint of a training goes."""

from __future__ import annotations

from firstfault.acting.acting import Acting
from firstfault.acting.actions import Checkpoint
from firstfault.acting.checkpoints import Checkpoints


def store_of(acting: Acting) -> Checkpoints:
    """That of the `Checkpoint` among the actions; without one, files alone."""
    action = next((action for action in acting.actions if isinstance(action, Checkpoint)), None) or Checkpoint()
    return action.store(acting.name, acting.folder, acting.later)
