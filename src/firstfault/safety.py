"""A training debugged for safety from Python: a small face over the watch, the suites and the store of failures.

As in `ComprehensiveSafetyDebugger(model, DebugConfig(tokenizer=tokenizer)).debug_training_run(train, val, epochs=3)`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from firstfault.watcher.answer_safety import SafetyMonitor as SafetyMonitor
    from firstfault.watcher.safety_config import DebugConfig as DebugConfig
    from firstfault.watcher.safety_debugger import ComprehensiveSafetyDebugger as ComprehensiveSafetyDebugger
    from firstfault.watcher.safety_report import DebugReport as DebugReport

_HOME = {
    "ComprehensiveSafetyDebugger": "safety_debugger",
    "DebugConfig": "safety_config",
    "DebugReport": "safety_report",
    "SafetyMonitor": "answer_safety",
}
__all__ = ["ComprehensiveSafetyDebugger", "DebugConfig", "DebugReport", "SafetyMonitor"]


def __getattr__(name: str) -> Any:
    """Import a name when it is first used."""
    if name in _HOME:
        return getattr(importlib.import_module(f"firstfault.watcher.{_HOME[name]}"), name)
    raise AttributeError(f"module 'firstfault.safety' has no attribute {name!r}")
