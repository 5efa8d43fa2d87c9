"""What a Trainer logs of a training: the last value of each metric, by its name."""

from __future__ import annotations

import numbers
import sys
from types import FrameType
from typing import Any

from firstfault.probe.code_lines import DEEPEST
from firstfault.probe.variables import locals_of

TRAINERS = ("transformers", "lightning", "pytorch_lightning")


class LoggedMetrics:
    """Reads the history of a Hugging Face Trainer, and the metrics of a Lightning Trainer, at the end."""

    def __init__(self) -> None:
        self._owner: Any = None

    def learns(self) -> None:
        """A loop learns for the first time: its Trainer is the `self` of a frame that leads here."""
        frame: FrameType | None = sys._getframe(1)
        for _ in range(DEEPEST):
            if frame is None or self._owner is not None:
                return
            owner = locals_of(frame).get("self") if "self" in frame.f_code.co_varnames else None
            self._owner = owner if _logged(owner) is not None else None
            frame = frame.f_back

    def last(self) -> dict[str, float]:
        """The last values."""
        found: dict[str, float] = {}
        for row in _logged(self._owner) or ():
            found |= {str(name): float(value) for name, value in row.items() if _is_number(value)}
        return found


def _logged(owner: Any) -> list[Any] | None:
    """The rows of what was logged; None of anything else than a Trainer."""
    if not any(base.__module__.partition(".")[0] in TRAINERS for base in type(owner).__mro__):
        return None
    history = getattr(getattr(owner, "state", None), "log_history", None)
    metrics = None if history is not None else getattr(owner, "callback_metrics", None)
    return history if metrics is None else [metrics]


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) or getattr(value, "numel", lambda: 0)() == 1
