"""What a check found: one judged measurement, as plain values that go to JSON and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from firstfault.place import Place
from firstfault.texts import encodable, shown
from firstfault.values import Json


class Layer(StrEnum):
    """A layer of an ML system. Safety is judged on the trained model, outside the order."""

    DATA = "data"
    PREPROCESSING = "preprocessing"
    MODEL = "model"
    TRAINING = "training"
    DEPLOYMENT = "deployment"
    SAFETY = "safety"

    @property
    def rank(self) -> int:
        """Position in the debug order, 0 for the layer in which faults start to spread."""
        return list(Layer).index(self)


LADDER = (Layer.DATA, Layer.PREPROCESSING, Layer.MODEL, Layer.TRAINING, Layer.DEPLOYMENT)


class Status(StrEnum):
    """How a measurement was judged, or why it was not."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"
    ERROR = "error"
    SKIPPED = "skipped"


_SEVERITY = (Status.SKIPPED, Status.PASS, Status.WARN, Status.ERROR, Status.FAIL)


def worst(statuses: list[Status]) -> Status:
    """The most serious of some statuses; `skipped` when there is none."""
    return max(statuses, key=_SEVERITY.index, default=Status.SKIPPED)


@dataclass(frozen=True)
class Finding:
    """One judged measurement on one part of a target.

    `value` and `threshold` are plain JSON values. `faults` maps the id of each fault that
    this finding is evidence for to its weight, 0–1: 0.9 and more is proof from structure, less is
    a symptom that a swap has to confirm. `where` is the column, module, stage, split or line it points to.
    `muted` is the reason for which the target does not want it judged.
    """

    check: str
    layer: Layer
    status: Status
    message: str
    value: object = None
    threshold: object = None
    where: Place | None = None
    faults: Mapping[str, float] = field(default_factory=dict)
    fix: str | None = None
    source: str | None = None
    artifacts: tuple[str, ...] = ()
    muted: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.where, Place | None):
            raise TypeError(f"where must be a Place, such as Place.columns(…), but got {type(self.where).__name__}")
        for name in ("check", "message", "fix", "muted"):  # what they quote of the user's may have no UTF-8
            if isinstance(text := getattr(self, name), str):
                object.__setattr__(self, name, encodable(text))

    def to_json(self) -> dict[str, object]:
        """This finding as JSON values; numbers that JSON lacks (NaN, infinity) become text."""
        where = self.where.to_json() if self.where is not None else None
        return {key: plain(value) for key, value in {**asdict(self), "where": where}.items()}

    @classmethod
    def from_json(cls, values: Json) -> Finding:
        """The finding that `to_json` wrote, in this version or in version 1."""
        where = values.get("where")
        return cls(
            **{
                **values,
                "where": Place.from_json(where) if where is not None else None,
                "layer": Layer(values["layer"]),
                "status": Status(values["status"]),
                "artifacts": tuple(values.get("artifacts", ())),
            }
        )


@dataclass(frozen=True)
class LayerReport:
    """Everything that was found in one layer, and how long it took."""

    layer: Layer
    findings: tuple[Finding, ...]
    seconds: float
    suspect: bool = False

    @property
    def status(self) -> Status:
        """The most serious status among the findings."""
        return worst([finding.status for finding in self.findings])

    @property
    def failures(self) -> list[Finding]:
        """The findings of status `fail`."""
        return [finding for finding in self.findings if finding.status is Status.FAIL]

    def to_json(self) -> dict[str, object]:
        """This report as JSON values, as the verdict's `layers` hold it."""
        return {
            "layer": self.layer.value,
            "status": self.status.value,
            "seconds": round(self.seconds, 3),
            "suspect": self.suspect,
            "findings": [finding.to_json() for finding in self.findings],
        }

    @classmethod
    def from_json(cls, values: Json) -> LayerReport:
        """The report that `to_json` wrote."""
        return cls(
            layer=Layer(values["layer"]),
            findings=tuple(Finding.from_json(finding) for finding in values["findings"]),
            seconds=values["seconds"],
            suspect=values.get("suspect", False),
        )


def plain(value: object) -> Any:
    """`value` with NumPy scalars, enums and tuples turned into JSON values.

    Raises:
        TypeError: for a tensor, frame or other object that does not belong in a finding.
    """
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, str):
        return encodable(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {shown(key, str): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    raise TypeError(f"a finding holds plain values, but got {type(value).__name__}")
