"""What is happening right now, for whoever wants to show it: a terminal, a Prefect artifact."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from firstfault.finding import Finding, Layer, LayerReport

if TYPE_CHECKING:
    from firstfault.verdict import Verdict


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
class RunOpened:
    """A debug run begins: its folder, and the MLflow run that holds it."""

    target: str
    folder: str
    mlflow_run_id: str | None


@dataclass(frozen=True)
class Concluded:
    """A debug run has its verdict; `report` is the path of the HTML report."""

    verdict: Verdict
    folder: str
    report: str | None


Event = RunOpened | Concluded | LayerStarted | CheckStarted | Found | LayerEnded | Step
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
