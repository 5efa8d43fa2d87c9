"""What is happening right now, for whoever wants to show it: a terminal, a Prefect artifact."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from firstfault.finding import Finding, Layer, LayerReport


@dataclass(frozen=True)
class LayerStarted:
    """A layer's checks begin."""

    layer: Layer


@dataclass(frozen=True)
class CheckStarted:
    """A check begins; `done` of `total` checks of its layer have ended."""

    layer: Layer
    check: str
    done: int
    total: int


@dataclass(frozen=True)
class Found:
    """A check yielded a finding."""

    finding: Finding


@dataclass(frozen=True)
class LayerEnded:
    """A layer's checks have all ended."""

    report: LayerReport


@dataclass(frozen=True)
class Step:
    """Any other long step, in words: `swap 2 of 5: learning rate ÷ 10`; `share` of the work or of its budget is done, 0–1."""

    layer: Layer
    text: str
    share: float = 0.0


@dataclass(frozen=True)
class Checkpointed:
    """The weights of a training that still runs were written to `path`; `name` tells checkpoints apart."""

    path: Path
    name: str
    step: int
    metrics: Mapping[str, float]
    epoch: int | None = None


@dataclass(frozen=True)
class SafetyJudged:
    """The safety of a training that still runs was evaluated: safety_score, capability_score and alignment_tax of an epoch.

    `checkpointed` tells that a `Checkpointed` of that epoch has the same scores.
    """

    epoch: int
    scores: Mapping[str, float]
    checkpointed: bool


@dataclass(frozen=True)
class RunOpened:
    """A debug run begins: its folder, and the MLflow run that holds it."""

    target: str
    folder: str
    mlflow_run_id: str | None


Event = RunOpened | LayerStarted | CheckStarted | Found | LayerEnded | Step | Checkpointed | SafetyJudged
Listener = Callable[[Event], None]

_listeners: list[Listener] = []


def emit(event: Event) -> None:
    """Tell every listener of this process."""
    for listener in tuple(_listeners):
        listener(event)


@contextlib.contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Call `listener` on every event inside the block."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
