"""All kinds of incidents and of look-alikes, and the bases that they are drawn for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monitoring.served.assistant import SAFETY, Prompts
from monitoring.served.bases import Base, base_of
from monitoring.served.load_faults import LOAD
from monitoring.served.plan import Kind
from monitoring.served.populations import POPULATIONS
from monitoring.served.serving_faults import SERVING
from monitoring.served.telemetry_faults import TELEMETRY
from monitoring.served.training_faults import TRAINING
from monitoring.served.upstream import DATA

KINDS: tuple[Kind, ...] = (*DATA, *SERVING, *TRAINING, *LOAD, *SAFETY, *TELEMETRY)
MADE_OF: dict[str, type[Any]] = {**POPULATIONS, "assistant": Prompts}
_made: dict[str, Base] = {}


def base(name: str, folder: Path) -> Base:
    """The base of that name, made once."""
    if name not in _made:
        _made[name] = base_of(name, MADE_OF[name](), folder)
    return _made[name]
