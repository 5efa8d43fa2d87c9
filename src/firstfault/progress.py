"""What is happening right now, for whoever wants to show it: a terminal, a Prefect artifact."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from firstfault.finding import Finding, Layer, LayerReport
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
    """Any other long step, in words: `swap 2 of 5: learning rate ÷ 10`; `share` of the work is done, 0–1."""

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
    """The safety of a training that still runs was evaluated.

    It holds safety_score, capability_score and alignment_tax of an epoch. `checkpointed` tells that a `Checkpointed`
    of that epoch has the same scores.
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


@dataclass(frozen=True)
class Phase:
    """What is done from now on beside the layers, in words: `loading the target`, `MLflow`."""

    name: str


@dataclass(frozen=True)
class Concluded:
    """The verdict is known; what follows writes it down."""

    verdict: Verdict


Event = (
    Phase
    | Concluded
    | RunOpened
    | LayerStarted
    | CheckStarted
    | Found
    | LayerEnded
    | Step
    | Checkpointed
    | SafetyJudged
)
Listener = Callable[[Event], None]

_listeners: list[tuple[str | None, Listener]] = []
_run: ContextVar[str | None] = ContextVar("run", default=None)


def emit(event: Event) -> None:
    """Tell every listener of this run; from a thread that belongs to no run, every listener of this process."""
    run = _run.get()
    for owner, listener in tuple(_listeners):
        if owner is None or run is None or owner == run:
            listener(event)


@contextlib.contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Call `listener` on every event inside the block, of the run in which the block is."""
    entry = _run.get(), listener
    _listeners.append(entry)
    try:
        yield
    finally:
        _listeners.remove(entry)


@contextlib.contextmanager
def in_run() -> Iterator[None]:
    """Give the events inside the block the id of a run, unless they have one: two runs in one process don't mix."""
    token = _run.set(_run.get() or token_hex(8))
    try:
        yield
    finally:
        _run.reset(token)
