"""Streams drawn at random: which base, which change, how long, how recorded; again where the change does no harm."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from monitoring.served.bases import Base
from monitoring.served.catalogue import base
from monitoring.served.look_alikes import LookAlike
from monitoring.served.plan import Kind
from monitoring.served.populations import Rng
from monitoring.served.stream import Maker, Shape, Stream

TRIES = 12
Told = Kind | LookAlike


@dataclass(frozen=True)
class Job:
    """One stream to be made."""

    kind: Told
    seed: int

    @property
    def name(self) -> str:
        """What it is called in the output."""
        return f"{self.kind.id} {self.seed}"


@dataclass
class Case:
    """A stream, and what is right about it."""

    job: Job
    base: Base
    stream: Stream

    @property
    def planted(self) -> Kind | None:
        """What was planted; None in a healthy stream."""
        return self.job.kind if isinstance(self.job.kind, Kind) else None

    @property
    def name(self) -> str:
        """What it is called in the output."""
        return f"{self.job.kind.id} {self.base.name} {self.job.seed}"


def case_of(job: Job, bases: Path, store: Path) -> Case | None:
    """The stream of a job; None where no draw did any harm."""
    rng = np.random.default_rng(job.seed)
    for number in range(TRIES):
        name = str(rng.choice(job.kind.bases))
        chosen = base(name, bases)
        change = job.kind.plan(chosen, rng)
        if change is None:
            continue
        shape = _healthy(job.kind, rng) if isinstance(job.kind, LookAlike) else _faulty(job.kind, rng)
        stream = Maker(chosen, rng, shape).make(change, store / str(number), lambda harm: _hurts(job.kind, harm))
        if stream is not None:
            return Case(job, chosen, stream)
    return None


def _hurts(kind: Told, harm: dict[str, float]) -> bool:
    if isinstance(kind, LookAlike):
        return True
    if harm["changed"] < kind.hurts:
        return False
    before, after = harm["errors_before"], harm["errors"]
    return after >= before + kind.worse or after >= before * (1 + 5 * kind.worse) > before


def _way(rng: Rng) -> str:
    return str(rng.choice(["function", "asgi"]))


def _faulty(kind: Kind, rng: Rng) -> Shape:
    before, after, way = int(rng.integers(3_000, 4_200)), int(rng.integers(1_500, 2_500)), _way(rng)
    sample = float(rng.choice([1.0, 1.0, 0.5]))
    return Shape(
        before=int(before / sample),  # what says what is usual must lie before the onset, whatever is kept
        after=after,
        way=way,
        sample=sample,
        labelled=_labelled(kind, rng),
        busy=kind.busy,
        canary=0.5 if kind.canary else 0.0,
    )


def _labelled(kind: Kind, rng: Rng) -> float:
    """All labels come where they alone show it, else all, some or none."""
    if kind.step == "safety":
        return 0.0
    return 1.0 if kind.shown == "labels" else float(rng.choice([1.0, 0.3, 0.0]))


def _healthy(kind: LookAlike, rng: Rng) -> Shape:
    if kind.weeks:
        return Shape(before=9_000, after=0, way=_way(rng), labelled=float(rng.choice([1.0, 0.0])), weeks=kind.weeks)
    before, after, way = int(rng.integers(3_000, 3_600)), int(rng.integers(2_000, 3_000)), _way(rng)
    sample = float(rng.choice([1.0, 1.0, 0.5]))
    return Shape(
        before=int(before / sample),
        after=after,
        way=way,
        sample=sample,
        labelled=float(rng.choice([1.0, 0.3, 0.0])),
        streamed=kind.streamed,
    )
