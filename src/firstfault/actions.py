"""What can be done about a finding while a training runs: `firstfault.watch(actions=[Log(), Checkpoint(), Stop()])`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from firstfault.watcher.actions.action_context import Action as Action
    from firstfault.watcher.actions.action_context import Occasion as Occasion
    from firstfault.watcher.actions.actions import Alert as Alert
    from firstfault.watcher.actions.actions import Checkpoint as Checkpoint
    from firstfault.watcher.actions.actions import Log as Log
    from firstfault.watcher.actions.actions import Stop as Stop

_HOME = {
    "Action": "action_context",
    "Alert": "actions",
    "Checkpoint": "actions",
    "Log": "actions",
    "Occasion": "action_context",
    "Stop": "actions",
}
__all__ = ["Action", "Alert", "Checkpoint", "Log", "Occasion", "Stop"]


def __getattr__(name: str) -> Any:
    """Import an action when it is first used."""
    if name in _HOME:
        return getattr(importlib.import_module(f"firstfault.watcher.actions.{_HOME[name]}"), name)
    raise AttributeError(f"module 'firstfault.actions' has no attribute {name!r}")
