"""The verdict and what it is made of, as values, and as the versioned JSON that tools read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from importlib import resources

from firstfault.coverage import coverage_of
from firstfault.finding import Layer, LayerReport, plain
from firstfault.muting import muted_in
from firstfault.place import Place
from firstfault.values import Json

SCHEMA_VERSION = 2
"""Of `Verdict.to_json`; each earlier one keeps a schema file of its own, by which it is read."""


class VerdictStatus(StrEnum):
    """What a debug run concludes."""

    HEALTHY = "healthy"
    FAULTY = "faulty"
    UNDECIDED = "undecided"
    ERROR = "error"


class SubjectKind(StrEnum):
    """What a verdict is about: a target of the user's, a watched training loop, or an incident in production."""

    TARGET = "target"
    WATCHED = "watched"
    INCIDENT = "incident"


@dataclass(frozen=True)
class Swap:
    """What undoing a fault did to the metric, as means over paired seeds.

    `sets` are the settings that the change gives other values, as plain values: lr, weight_decay, optimizer, shuffle,
    batch_size.
    """

    change: str
    metric: str
    before: float | None
    after: float | None
    seeds: int
    p_value: float | None = None
    sets: Mapping[str, float | str | bool | None] = field(default_factory=dict)
    over: str = "seeds"
    """What the pairs are: seeds of a training, or parts of an incident's requests."""

    def __post_init__(self) -> None:
        for name in ("before", "after", "p_value"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):  # a training that ended in NaN has no score
                object.__setattr__(self, name, None)


@dataclass(frozen=True)
class Outcome:
    """The test of one suspected fault: `confirmed` is None when no swap could test it, and why in `reason`.

    With `undecided` a swap was tried and could not tell: less than a proof neither stands nor falls by it. `beside` are
    the faults that had to be undone with it: each of them is shown to be needed, and none is the other's symptom.
    `replayed` is what was undone on the very requests that show it, without the luck of a training: what that refutes
    falls, however strong the evidence.
    """

    fault: str
    confirmed: bool | None
    swap: Swap | None = None
    reason: str = ""
    beside: tuple[str, ...] = ()
    undecided: bool = False
    replayed: bool = False

    def to_json(self) -> Json:
        """This outcome as JSON values."""
        return plain(asdict(self))

    @classmethod
    def from_json(cls, values: Json) -> Outcome:
        """The outcome that `to_json` wrote."""
        swap = values.get("swap")
        return cls(
            values["fault"],
            values["confirmed"],
            Swap(**swap) if swap else None,
            values.get("reason", ""),
            tuple(values.get("beside", ())),
            values.get("undecided", False),
            values.get("replayed", False),
        )


@dataclass(frozen=True)
class Change:
    """A remedy as a change of one line of the user's code.

    Where `before` is empty, `after` is put in above the line.
    """

    file: str
    line: int
    before: str
    after: str


@dataclass(frozen=True)
class Fault:
    """A named cause that firstfault stands by; `where` are the places of its evidence, the strongest first.

    For a watched script, the first place is the line of the user's code that would be changed, and `change` how,
    where that is certain.
    """

    fault: str
    layer: Layer
    confidence: float
    confirmed: bool | None
    evidence: tuple[str, ...]
    remedy: str
    where: tuple[Place, ...] = ()
    swap: Swap | None = None
    change: Change | None = None

    @property
    def place(self) -> str:
        """The places as a text for people; empty where there are none."""
        return ", ".join(map(str, self.where))

    def to_json(self) -> Json:
        """This fault as JSON values."""
        return plain({**asdict(self), "where": [place.to_json() for place in self.where]})

    @classmethod
    def from_json(cls, values: Json) -> Fault:
        """The fault that `to_json` wrote, in this version or in version 1, whose place is one text."""
        swap = Swap(**values["swap"]) if values.get("swap") else None
        where = values.get("where") or ()
        return cls(
            **{
                **values,
                "layer": Layer(values["layer"]),
                "evidence": tuple(values["evidence"]),
                "swap": swap,
                "change": Change(**values["change"]) if values.get("change") else None,
                "where": tuple(map(Place.from_json, [where] if isinstance(where, str) else where)),
            }
        )


@dataclass(frozen=True)
class Verdict:
    """What one debug run concludes. `faults` are ranked, best first; `not_loaded` are plug-ins, a sentence each."""

    target: str
    status: VerdictStatus
    faults: tuple[Fault, ...]
    layers: tuple[LayerReport, ...]
    seconds: float
    safety: Json | None = None
    mlflow_run_id: str | None = None
    prefect_flow_run_id: str | None = None
    outcomes: tuple[Outcome, ...] = field(default=())
    subject: SubjectKind = SubjectKind.TARGET
    not_cleared: tuple[str, ...] = ()
    """Why layers in which no fault was found can't be called healthy."""
    not_loaded: tuple[str, ...] = ()

    @property
    def muted(self) -> dict[str, str]:
        """What was not judged, since the target mutes it: the reason by `check` or `check:place`."""
        return muted_in(self.layers)

    @property
    def first_faulty_layer(self) -> Layer | None:
        """The earliest layer that has a fault; None for a healthy target."""
        return min((fault.layer for fault in self.faults), key=lambda layer: layer.rank, default=None)

    def to_json(self) -> dict[str, object]:
        """The verdict as the versioned JSON that tools and CI read."""
        first = self.first_faulty_layer
        return {
            "schema_version": SCHEMA_VERSION,
            "target": self.target,
            "subject": self.subject.value,
            "status": self.status.value,
            "first_faulty_layer": first.value if first else None,
            "faults": [fault.to_json() for fault in self.faults],
            "layers": [{**report.to_json(), **_looked(report)} for report in self.layers],
            "outcomes": [outcome.to_json() for outcome in self.outcomes],
            "not_cleared": list(self.not_cleared),
            "safety": plain(self.safety),
            "muted": self.muted,
            "not_loaded": list(self.not_loaded),
            "mlflow_run_id": self.mlflow_run_id,
            "prefect_flow_run_id": self.prefect_flow_run_id,
            "seconds": round(self.seconds, 3),
        }

    @classmethod
    def from_json(cls, values: Json) -> Verdict:
        """The verdict that `to_json` wrote, in this version or in version 1, which held no outcomes of tests."""
        return cls(
            target=values["target"],
            status=VerdictStatus(values["status"]),
            faults=tuple(map(Fault.from_json, values["faults"])),
            layers=tuple(map(LayerReport.from_json, values["layers"])),
            seconds=values["seconds"],
            safety=values.get("safety"),
            mlflow_run_id=values.get("mlflow_run_id"),
            prefect_flow_run_id=values.get("prefect_flow_run_id"),
            outcomes=tuple(map(Outcome.from_json, values.get("outcomes", ()))),
            subject=SubjectKind(values.get("subject", SubjectKind.TARGET)),
            not_cleared=tuple(values.get("not_cleared", ())),
            not_loaded=tuple(values.get("not_loaded", ())),
        )


def _looked(report: LayerReport) -> dict[str, int]:
    covered = coverage_of(report)
    return {"checks": covered.checks, "looked": covered.looked}


def schema(version: int = SCHEMA_VERSION) -> Json:
    """The JSON schema of `Verdict.to_json`, or of what an earlier version wrote."""
    name = "verdict.schema.json" if version == SCHEMA_VERSION else f"verdict.v{version}.schema.json"
    text = resources.files("firstfault").joinpath(name).read_text()
    return json.loads(text)
