"""An incident as a subject: its requests and those of its control, as plain values, and what was seen of that time."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from firstfault.errors import Missing
from firstfault.metrics import Array
from firstfault.subject.memo import memo
from firstfault.subject.subject import Subject

STAGES = ("queue", "validate", "preprocess", "model", "postprocess")


@dataclass(frozen=True)
class Request:
    """One request that was served, of one sample or of a batch: `raw`, `tensor`, … hold a value for each sample.

    A cut that was not seen is None. Times are seconds; `stages` holds those that were measured, `resources` what the
    process used: cpu, rss, throttled. `replica` is the process that answered, `truth` the labels that came later.
    """

    id: str
    time: float
    raw: Sequence[Any] | None = None
    tensor: Sequence[Any] | None = None
    logits: Sequence[Any] | None = None
    label: Sequence[Any] | None = None
    truth: Sequence[Any] | None = None
    hashes: Mapping[str, str] = field(default_factory=dict)
    total: float = 0.0
    stages: Mapping[str, float] = field(default_factory=dict)
    size: int = 0
    outcome: str = "ok"
    status: int = 200
    confidence: float | None = None
    version: str = ""
    arm: str = "champion"
    replica: str = ""
    error: str = ""
    resources: Mapping[str, float] = field(default_factory=dict)
    client: float = 0.0
    """Seconds between the first part of a streamed answer and its last, where every stage was over by the first."""
    marks: Sequence[str] = ()
    uniform: bool = True
    """Whether it was drawn by lot: what was kept for being slow, unsure or wrong is no fair sample of its time."""

    @property
    def samples(self) -> int:
        """How many samples it holds; 1 where nobody can tell."""
        return max((len(value) for value in (self.raw, self.tensor, self.label) if value is not None), default=1)

    @property
    def answered(self) -> bool:
        """Whether a model's answer came back."""
        return self.outcome == "ok"


@dataclass(frozen=True)
class Requests:
    """Several requests, the oldest first; what is said of samples is in the order of `samples`."""

    all: tuple[Request, ...] = ()

    def __len__(self) -> int:
        return len(self.all)

    def only(self, chosen: Callable[[Request], bool]) -> Requests:
        """Those that are chosen."""
        return Requests(tuple(request for request in self.all if chosen(request)))

    @functools.cached_property
    def answered(self) -> Requests:
        """Those that a model answered."""
        return self.only(lambda request: request.answered)

    @functools.cached_property
    def fair(self) -> Requests:
        """A fair sample of them: those that were drawn by lot, where there are enough."""
        drawn = self.only(lambda request: request.uniform)
        return drawn if len(drawn) >= FAIR else self

    @functools.cached_property
    def samples(self) -> tuple[tuple[Request, int], ...]:
        """Each sample of each request, by its place in it."""
        return tuple((request, place) for request in self.all for place in range(request.samples))

    def values(self, cut: str) -> list[Any]:
        """The values of all samples at a cut; None for those that were not seen."""
        return [_value(getattr(request, cut), place, request.samples) for request, place in self.samples]

    def numbers(self, name: str) -> Array:
        """A number of each request: `total`, `size`, `time`, a stage or a resource; NaN where it is not known."""
        return np.array([_number(request, name) for request in self.all], dtype=float)


FAIR = 50
"""Requests drawn by lot: a share of them errs by 0.07 at most; where there are fewer, all are taken."""


def _value(values: Sequence[Any] | None, place: int, samples: int) -> Any:
    return None if values is None or len(values) != samples else values[place]


def _number(request: Request, name: str) -> float:
    value = getattr(request, name, None)
    if value is None or name in ("tensor", "logits"):
        value = request.stages.get(name, request.resources.get(name))
    return float("nan") if value is None else float(value)


@dataclass(frozen=True)
class Telemetry:
    """How well the time of an incident was seen: records lost by cause, and how many each arm answered."""

    lost: Mapping[str, int] = field(default_factory=dict)
    counted: int = 0
    arms: Mapping[str, int] = field(default_factory=dict)
    control_arms: Mapping[str, int] = field(default_factory=dict)
    jumps: int = 0
    """How often a clock went back by more than a second within one process."""
    unlabelled: tuple[float, float] | None = None
    """The shares of requests without a label, in the control and now, where labels usually come."""


@dataclass(frozen=True)
class Evidence:
    """What an incident is judged by: what opened it, its requests, and healthy ones of the same hours.

    `usual` are healthy ones of long before, by which detection knew what is usual: a change that was noticed late had
    begun before the last healthy requests of the same hours.
    """

    id: str
    monitor: str
    message: str
    requests: Requests
    control: Requests
    telemetry: Telemetry = field(default_factory=Telemetry)
    usual: Requests = field(default_factory=Requests)

    def beside_usual(self) -> Evidence:
        """The same incident beside the requests of long before."""
        arms = Counter(request.arm for request in self.usual.all)
        unlabelled = self.telemetry.unlabelled
        if unlabelled is not None and self.usual.all:
            without = sum(request.truth is None for request in self.usual.all) / len(self.usual)
            unlabelled = (without, unlabelled[1])
        telemetry = replace(self.telemetry, control_arms=dict(arms), unlabelled=unlabelled)
        return replace(self, control=self.usual, telemetry=telemetry)


@memo(of="raw")
def incident(subject: Subject) -> Evidence:
    """The incident under examination; what examines it supplies it."""
    raise Missing("it is no incident, but a target")
