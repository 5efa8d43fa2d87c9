"""Detection of one kind of trouble alone: worse service, moved data, strange requests, or unsafe answers.

    drift = DriftDetector(baseline=healthy)
    for incident in drift.feed(records):
        ...

Each is a `Detector` with some of its monitors, which share the whole of its alpha.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import ClassVar

from firstfault.monitor.assertions import Assertion
from firstfault.monitor.detect.detector import Detector
from firstfault.monitor.detect.settings import Detection
from firstfault.monitor.record import Record


class IssueKind(StrEnum):
    """What kind of trouble an incident is."""

    PERFORMANCE = "performance"
    DISTRIBUTION_SHIFT = "distribution_shift"
    ANOMALY = "anomaly"
    SAFETY_VIOLATION = "safety_violation"


MONITORS = {
    IssueKind.PERFORMANCE: frozenset({"bad_events", "latency", "estimated_accuracy", "label_errors", "resources"}),
    IssueKind.DISTRIBUTION_SHIFT: frozenset({"inputs", "scores", "new_category", "safeml"}),
    IssueKind.ANOMALY: frozenset({"novelty", "gibberish", "repeats", "arms", "clocks", "losses"}),
    IssueKind.SAFETY_VIOLATION: frozenset({"assertions", "marks"}),
}
"""The monitors that see each kind."""


def kind_of(monitor: str) -> IssueKind:
    """The kind of trouble that a monitor sees: `latency:model` is one of performance."""
    name = monitor.partition(":")[0]
    return next((kind for kind, names in MONITORS.items() if name in names), IssueKind.ANOMALY)


class _OfKind(Detector):
    kind: ClassVar[IssueKind]

    def __init__(
        self, settings: Detection | None = None, baseline: Iterable[Record] = (), assertions: Sequence[Assertion] = ()
    ) -> None:
        super().__init__(settings, baseline, assertions, only=MONITORS[self.kind])


class PerformanceMonitor(_OfKind):
    """Sees errors, refusals, slow stages, a lower accuracy, estimated or by labels, and what the process uses."""

    kind = IssueKind.PERFORMANCE


class DriftDetector(_OfKind):
    """Sees inputs that the answers depend on, and answers, that are distributed otherwise than usual."""

    kind = IssueKind.DISTRIBUTION_SHIFT


class AnomalyDetector(_OfKind):
    """Sees new fields and types, gibberish, repeated answers, and arms and clocks that are not as usual."""

    kind = IssueKind.ANOMALY


class SafetyMonitor(_OfKind):
    """Sees answers that the user's own assertions, or marks put on requests, call wrong."""

    kind = IssueKind.SAFETY_VIOLATION
