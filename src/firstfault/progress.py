"""What is happening right now, for whoever wants to show it: a terminal, a Prefect artifact."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

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
    """Any other long step, in words: `swap 2 of 5: learning rate ÷ 10`."""

    layer: Layer
    text: str


Event = LayerStarted | CheckStarted | Found | LayerEnded | Step
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
