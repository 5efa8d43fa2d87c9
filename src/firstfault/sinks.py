"""Where the numbers of a watched training can go.

As in `firstfault.watch(sinks=[TensorBoard("runs"), JsonLines("steps.jsonl")])`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from firstfault.probe.sinks.aim_run import Aim as Aim
    from firstfault.probe.sinks.base import JsonLines as JsonLines
    from firstfault.probe.sinks.base import Sink as Sink
    from firstfault.probe.sinks.clearml_task import ClearML as ClearML
    from firstfault.probe.sinks.mlflow_run import MLflow as MLflow
    from firstfault.probe.sinks.tensorboard import TensorBoard as TensorBoard
    from firstfault.probe.sinks.wandb_run import WeightsAndBiases as WeightsAndBiases

_HOME = {
    "Aim": "aim_run",
    "ClearML": "clearml_task",
    "JsonLines": "base",
    "MLflow": "mlflow_run",
    "Sink": "base",
    "TensorBoard": "tensorboard",
    "WeightsAndBiases": "wandb_run",
}
__all__ = ["Aim", "ClearML", "JsonLines", "MLflow", "Sink", "TensorBoard", "WeightsAndBiases"]


def __getattr__(name: str) -> Any:
    """Import a sink when it is first used."""
    if name in _HOME:
        return getattr(importlib.import_module(f"firstfault.probe.sinks.{_HOME[name]}"), name)
    raise AttributeError(f"module 'firstfault.sinks' has no attribute {name!r}")
