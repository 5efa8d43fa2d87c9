"""Serving, watched and debugged from Python: a small face over the monitor, its detection and its diagnosis.

As in `for issue in ProductionDebugger("churn", {"target": "target.py"}).continuous_debugging(stream): ...`
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from firstfault.monitor.detect.kinds import AnomalyDetector as AnomalyDetector
    from firstfault.monitor.detect.kinds import DriftDetector as DriftDetector
    from firstfault.monitor.detect.kinds import PerformanceMonitor as PerformanceMonitor
    from firstfault.monitor.detect.kinds import SafetyMonitor as SafetyMonitor
    from firstfault.recording.production import Issue as Issue
    from firstfault.recording.production import MonitoringConfig as MonitoringConfig
    from firstfault.recording.production import ProductionDebugger as ProductionDebugger

_HOME = {
    "AnomalyDetector": "monitor.detect.kinds",
    "DriftDetector": "monitor.detect.kinds",
    "PerformanceMonitor": "monitor.detect.kinds",
    "SafetyMonitor": "monitor.detect.kinds",
    "Issue": "recording.production",
    "MonitoringConfig": "recording.production",
    "ProductionDebugger": "recording.production",
}
__all__ = [
    "AnomalyDetector",
    "DriftDetector",
    "Issue",
    "MonitoringConfig",
    "PerformanceMonitor",
    "ProductionDebugger",
    "SafetyMonitor",
]


def __getattr__(name: str) -> Any:
    """Import a name when it is first used."""
    if name in _HOME:
        return getattr(importlib.import_module(f"firstfault.{_HOME[name]}"), name)
    raise AttributeError(f"module 'firstfault.production' has no attribute {name!r}")
