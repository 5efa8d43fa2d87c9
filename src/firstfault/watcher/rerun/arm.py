"""What is run again, and what came of it: plain values that go to the child and back as JSON."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Script:
    """A script, or with `module` a module, as it was called: with its arguments, folder and environment.

    `seconds` are those of the processor that the watched run took, `wall` those of the clock.
    """

    name: str
    arguments: tuple[str, ...] = ()
    module: bool = False
    folder: str = "."
    environment: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    wall: float = 0.0


@dataclass(frozen=True)
class Arm:
    """One run of a script: its intervention, if any, the offset of its seeds, and its most steps and seconds.

    `seconds` are those of the processor, and `wall` the hard end.
    """

    intervention: str | None
    offset: int
    steps: int
    seconds: float
    wall: float


@dataclass(frozen=True)
class Ending:
    """What a run came to: `losses` and `validation` are series, `sites` what `Answers` counted.

    `raised` is the exception that ended it, `changes` what the intervention did, `cut` whether the seconds ended it.
    `denied` is what it was kept from, `learners` counts the optimizers that stepped at its
    end after backward passes of their own. `sets` are the settings that the intervention gave one value, `rewards` the
    series of what the loop gained by acting.
    """

    steps: int = 0
    losses: dict[str, list[float]] = field(default_factory=dict)
    validation: dict[str, list[float]] = field(default_factory=dict)
    sites: dict[str, Any] = field(default_factory=dict)
    changes: tuple[str, ...] = ()
    raised: str = ""
    cut: bool = False
    seconds: float = 0.0
    denied: tuple[str, ...] = ()
    learners: int = 1
    sets: dict[str, float | str | bool] = field(default_factory=dict)
    rewards: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Ending:
        """The ending that the child wrote."""
        tuples = {name: tuple(values.get(name, ())) for name in ("changes", "denied")}
        return cls(**{**values, **tuples})

    def to_json(self) -> dict[str, Any]:
        """This ending as JSON values; NaN and infinity are kept as Python writes them."""
        return asdict(self)


def until(series: dict[str, list[float]], step: int) -> list[tuple[int, float]]:
    """The steps and values of a series up to a step."""
    pairs = zip(series.get("steps", ()), series.get("values", ()), strict=True)
    return [(int(at), value if value is not None else math.nan) for at, value in pairs if at <= step]
