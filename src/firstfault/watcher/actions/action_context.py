"""What an action is told, and what every action is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from firstfault.finding import Finding
from firstfault.probe.record import Record


@dataclass(frozen=True)
class Occasion:
    """A finding in a training that still runs.

    `models` are the outermost modules by name; `name` and `folder` those of the training. `stop(reason)` ends the
    training after the other actions; `later(what, function, …)` calls a function in a thread beside the training, where
    an exception is no more than a warning.
    """

    finding: Finding
    step: int
    record: Record
    models: Mapping[str, nn.Module]
    name: str
    folder: Path
    stop: Callable[[str], None]
    later: Callable[..., None]


class Action(Protocol):
    """Does something about a finding; what it returns, such as a path, is kept in `record.acts`."""

    def act(self, occasion: Occasion) -> Any:
        """Act on a finding."""
