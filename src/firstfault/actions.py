"""What can be done about a finding while a training runs: `firstfault.watch(actions=[Log(), Checkpoint(), Stop()])`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from firstfault.acting.actions import Alert as Alert
    from firstfault.acting.actions import Checkpoint as Checkpoint
    from firstfault.acting.actions import Log as Log
    from firstfault.acting.actions import Stop as Stop
    from firstfault.acting.occasion import Action as Action
    from firstfault.acting.occasion import Occasion as Occasion

_HOME = {"Action": "occasion", "Alert": "actions", "Checkpoint": "actions", "Log": "actions", "Occasion": "occasion", "Stop": "actions"}
__all__ = ["Action", "Alert", "Checkpoint", "Log", "Occasion", "Stop"]


def __getattr__(name: str) -> Any:
    """Import an action when it is first used."""
    if name in _HOME:
        return getattr(importlib.import_module(f"firstfault.acting.{_HOME[name]}"), name)
    raise AttributeError(f"module 'firstfault.actions' has no attribute {name!r}")
