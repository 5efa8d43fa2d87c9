"""Metrics as plain values, before they are Prometheus' or OpenTelemetry's."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """What a metric's numbers mean."""

    COUNTER = "counter"
    """It only grows."""
    GAUGE = "gauge"
    DISTRIBUTION = "distribution"


class Point(NamedTuple):
    """One number, with the values of its family's labels."""

    labels: tuple[str, ...]
    value: float


class Bins(NamedTuple):
    """How many values lay in each bin, the last of which has no upper end, and the sum of all."""

    labels: tuple[str, ...]
    counts: tuple[int, ...]
    sum: float


class Family(NamedTuple):
    """A metric with its points. `name` has neither its unit nor `_total` in it."""

    name: str
    help: str
    kind: Kind = Kind.GAUGE
    unit: str = ""
    """In Prometheus' words: seconds, ratio, or nothing."""
    labels: tuple[str, ...] = ()
    points: tuple[Point, ...] = ()
    bins: tuple[Bins, ...] = ()
    bounds: tuple[float, ...] = ()
    """The upper ends of a distribution's bins but the last; none, and only number and sum are known."""
