"""A reference to a run: plain values by which any process comes to the same target, settings and files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from firstfault.check import Depth


@dataclass(frozen=True)
class RunRef:
    """What is passed on instead of data: where a run's target and files are, and its MLflow run."""

    target: str
    folder: str
    home: str
    depth: Depth = Depth.STANDARD
    overrides: Mapping[str, str] = field(default_factory=dict)
    dataset: str | None = None
    where: str | None = None
    mlflow_run_id: str | None = None
