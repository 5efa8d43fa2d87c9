"""What changes at the onset of an incident, or of what only looks like one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from monitoring.served.bases import Base
from monitoring.served.load import Load
from monitoring.served.populations import Array, Drawn, Rng
from monitoring.served.server import Answer

TABLES = ("adult", "sensors", "demand")
CLASSIFIERS = ("adult", "sensors", "digits", "tickets")
ALL = (*TABLES, "digits", "tickets")


class Answering(Protocol):
    """Serving code."""

    version: str

    def answer(self, raw: list[Any]) -> list[Answer]:
        """The answers to some requests."""
        ...


@dataclass
class Change:
    """What is different from the onset on; what is None stays as it was."""

    raw: Callable[[list[Any], Rng], list[Any]] | None = None
    """What the sources upstream make of requests."""
    part: float = 1.0
    """Share of the requests that `raw` is for."""
    ramp: int = 0
    """Requests over which that share comes up."""
    server: Answering | None = None
    """What answers in place of the healthy server."""
    replicas: tuple[int, ...] = ()
    """Those that do; none named means all."""
    shares: Array | None = None
    """Of the segments."""
    draw: Callable[[Rng, Array, Array], Drawn] | None = None
    """Another world: other people, or other truths."""
    truth: Callable[[Drawn, Rng], Array] | None = None
    """Other truths of the same people."""
    load: Callable[[Load], Load] | None = None
    repeat: float = 0.0
    """Share of the requests that are sent again and again."""
    lost: float = 0.0
    """Share of the time in which nobody empties the queue of the records."""
    told: str = ""
    """What was drawn, in a few words."""
    canary: float | None = None
    """Share of the requests that the canary gets."""
    canary_server: Answering | None = None


@dataclass(frozen=True)
class Kind:
    """A kind of incident: what it is, and how one of its kind is drawn for a base."""

    id: str
    step: str
    layers: frozenset[str]
    """Layers that count as right; none where it comes before the layers."""
    faults: frozenset[str]
    """Fault ids that count as right."""
    bases: tuple[str, ...]
    plan: Callable[[Base, Rng], Change | None]
    """None where this base can't have it."""
    shown: str = "answers"
    """In what it shows: answers, errors, labels, latency, telemetry, shares."""
    hurts: float = 0.06
    """The least share of answers that it must change, for the stream to be used."""
    worse: float = 0.0
    """The least rise of the rate of errors (of a regression: of the mean error, relative) that it must bring."""
    busy: bool = False
    canary: bool = False


def kind(
    id_: str,
    step: str,
    plan: Callable[[Base, Rng], Change | None],
    bases: tuple[str, ...] = ALL,
    *,
    layers: tuple[str, ...] = (),
    faults: tuple[str, ...] = (),
    **settings: Any,
) -> Kind:
    """A kind whose layer is its step, and whose fault is its id, where nothing else counts too."""
    return Kind(id_, step, frozenset(layers or (step,)), frozenset((id_, *faults)), bases, plan, **settings)
