"""What detection is told once: how seldom it may be wrong, and what is too small to matter."""

from __future__ import annotations

import msgspec

from firstfault.errors import FirstfaultError
from firstfault.monitor.settings import settled


class Detection(msgspec.Struct, frozen=True, kw_only=True):
    """How incidents are found.

    Source of the figures: where none is named, benchmarks/harm.py and benchmarks/incidents.py.
    """

    alpha: float = 1e-5
    """One false incident in 1/alpha requests that are seen, at most, over all monitors together."""
    reference: int = 2_000
    """Requests of a model that say what is usual, where nobody declares a period."""
    labels: int = 1_000
    """Labels that say how often it is usually wrong, where the reference has none."""
    slower: float = 1.2
    """A stage may take so many times as long as usual."""
    shift: float = 0.05
    """A column, or a score, may be off by so many standard deviations."""
    accuracy: float = 0.02
    """The estimated accuracy may be lower by so much."""
    closes: float = 1e-4
    """An incident closes when the evidence that serving is as usual again reaches 1/closes."""
    weeks: float = 2.0
    """With so many weeks of reference, what is usual follows the hour of the week."""
    safeml: bool = False
    """Whether SafeML's "hand over" opens incidents; else it is told with those of others.

    A promotion moves the inputs of a class as a fault does, so that it is not asked by itself.
    """

    def __post_init__(self) -> None:
        for name in ("alpha", "closes"):
            if not 0 < getattr(self, name) < 1:
                raise FirstfaultError(f"detection's {name} must be between 0 and 1, but got {getattr(self, name)}")
        for name, least in (("reference", 200), ("labels", 50), ("slower", 1.0), ("shift", 0.0), ("accuracy", 0.0)):
            if not least <= getattr(self, name) < float("inf"):
                raise FirstfaultError(f"detection's {name} must be at least {least}, but got {getattr(self, name)}")


def detection_of(**options: object) -> Detection:
    """Settings from keyword arguments; None says nothing.

    Raises:
        FirstfaultError: when one is unknown, has a wrong type, or lies out of its range.
    """
    return settled(Detection, "detection's setting", options)
