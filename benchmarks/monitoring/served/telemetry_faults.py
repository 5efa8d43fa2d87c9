"""What goes wrong before any layer does: what is seen is not what happened."""

from __future__ import annotations

from dataclasses import replace

from monitoring.served.bases import Base
from monitoring.served.plan import ALL, Change, Kind
from monitoring.served.populations import Rng
from monitoring.served.server import healthy


def telemetry_loss(base: Base, rng: Rng) -> Change:
    """A writer that comes to nothing for minutes again and again: what doesn't fit in the queue is dropped."""
    return Change(lost=float(rng.uniform(0.3, 0.8)))


def sample_ratio_mismatch(base: Base, rng: Rng) -> Change:
    """A router that gives the canary another share than it was told."""
    share = float(rng.choice([0.25, 0.35, 0.65, 0.75]))
    return Change(canary=share, canary_server=replace(healthy(base), version="8"))


TELEMETRY: tuple[Kind, ...] = (
    Kind(
        "telemetry_loss",
        "telemetry",
        frozenset(),
        frozenset({"telemetry_loss"}),
        ALL,
        telemetry_loss,
        shown="telemetry",
        hurts=0.0,
    ),
    Kind(
        "sample_ratio_mismatch",
        "telemetry",
        frozenset(),
        frozenset({"sample_ratio_mismatch"}),
        ALL,
        sample_ratio_mismatch,
        shown="shares",
        hurts=0.0,
        canary=True,
    ),
)
