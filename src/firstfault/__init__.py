"""firstfault names the first faulty layer of an ML system, and proves it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from firstfault.errors import TrainingStopped as TrainingStopped
    from firstfault.probe.watch import watch as watch
    from firstfault.splits import Split as Split
    from firstfault.splits import Splits as Splits
    from firstfault.sql import Sql as Sql
    from firstfault.target import Data as Data
    from firstfault.target import Deployment as Deployment
    from firstfault.target import Safety as Safety
    from firstfault.target import Target as Target
    from firstfault.target import Training as Training
    from firstfault.target_file import load_target as load_target

__version__ = "0.1.0"

_HOME = {
    "Split": "splits", "Splits": "splits",
    "Data": "target", "Deployment": "target", "Safety": "target", "Sql": "sql", "Target": "target",
    "Training": "target", "TrainingStopped": "errors", "load_target": "target_file", "watch": "probe.watch",
}
__all__ = ["Data", "Deployment", "Safety", "Split", "Splits", "Sql", "Target", "Training", "TrainingStopped", "load_target", "watch"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import firstfault` stays quick."""
    if name in _HOME:
        return getattr(importlib.import_module(f"firstfault.{_HOME[name]}"), name)
    raise AttributeError(f"module 'firstfault' has no attribute {name!r}")
