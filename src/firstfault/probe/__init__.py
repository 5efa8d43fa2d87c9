"""Observing a training loop through torch's own hooks, without changing its result."""

from firstfault.probe.probe import Probe
from firstfault.probe.record import Record

__all__ = ["Probe", "Record"]
