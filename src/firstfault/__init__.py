"""firstfault names the first faulty layer of an ML system, and proves it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from firstfault.behaviour.debugger import BehaviorDebugger as BehaviorDebugger
    from firstfault.data.splits import Split as Split
    from firstfault.data.splits import Splits as Splits
    from firstfault.data.sql import Sql as Sql
    from firstfault.errors import TrainingStopped as TrainingStopped
    from firstfault.monitor.decorator import monitored as monitored
    from firstfault.recording.alignment_debugger import AlignmentDebugger as AlignmentDebugger
    from firstfault.target.declaration import Data as Data
    from firstfault.target.declaration import Deployment as Deployment
    from firstfault.target.declaration import Safety as Safety
    from firstfault.target.declaration import Target as Target
    from firstfault.target.declaration import Training as Training
    from firstfault.target.language_model import LM as LM
    from firstfault.target.language_model import FineTuning as FineTuning
    from firstfault.target.language_model import Prompt as Prompt
    from firstfault.target.loader import load_target as load_target
    from firstfault.watcher.watch import watch as watch

__version__ = "0.1.0"

_HOME = {
    "AlignmentDebugger": "recording.alignment_debugger",
    "BehaviorDebugger": "behaviour.debugger",
    "Split": "data.splits",
    "Splits": "data.splits",
    "Sql": "data.sql",
    "LM": "target.language_model",
    "FineTuning": "target.language_model",
    "Prompt": "target.language_model",
    "Data": "target.declaration",
    "Deployment": "target.declaration",
    "Safety": "target.declaration",
    "Target": "target.declaration",
    "Training": "target.declaration",
    "load_target": "target.loader",
    "TrainingStopped": "errors",
    "monitored": "monitor.decorator",
    "watch": "watcher.watch",
}
__all__ = [
    "LM",
    "AlignmentDebugger",
    "BehaviorDebugger",
    "Data",
    "Deployment",
    "FineTuning",
    "Prompt",
    "Safety",
    "Split",
    "Splits",
    "Sql",
    "Target",
    "Training",
    "TrainingStopped",
    "load_target",
    "monitored",
    "watch",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import firstfault` stays quick."""
    if name in _HOME:
        return getattr(importlib.import_module(f"firstfault.{_HOME[name]}"), name)
    raise AttributeError(f"module 'firstfault' has no attribute {name!r}")
