"""Where the time of a run goes, from Enter on: by the wall clock, and as CPU time of this process and its children."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import Any

import psutil
from rich.table import Table

from firstfault import progress
from firstfault.runs import guard

LEAST_SECONDS = 0.3
"""A check that takes less has no line of its own."""
TIMINGS = "timings.json"
"""The file of a run's folder that keeps them."""


@dataclass
class Span:
    """What a run did under one name: a phase, or a check within one."""

    name: str
    inner: bool = False
    wall: float = 0.0
    cpu: float = 0.0
    checks: dict[str, Span] = field(default_factory=dict)


def _now() -> tuple[float, float]:
    times = os.times()
    return time.time(), sum((times.user, times.system, times.children_user, times.children_system))


def _entered() -> float:
    """When the command was called: its guard was there before this process."""
    return float(psutil.Process(os.getppid() if guard.is_guarded() else os.getpid()).create_time())


class Timings:
    """Puts the time between two events of a run on a phase of it; a listener of `firstfault.progress`."""

    def __init__(self) -> None:
        self.entered = _entered()
        self.spans: dict[str, Span] = {}
        self.verdict: float | None = None
        self.verdict_cpu: float | None = None
        self._mark = self.entered, 0.0
        self._phase, self._check = "python and the command line", ""

    def __call__(self, event: progress.Event) -> None:
        match event:
            case progress.Phase(name):
                self.begin(name)
            case progress.LayerStarted(layer):
                self.begin(layer.value)
            case progress.CheckStarted(_, check):
                self._close()
                self._check = check
            case progress.LayerEnded():
                self.begin("between the layers")
            case progress.Concluded():
                self.begin("showing the verdict")
                self.verdict, self.verdict_cpu = self._mark[0] - self.entered, self._mark[1]

    def begin(self, phase: str) -> None:
        """What follows belongs to that phase."""
        self._close()
        self._phase, self._check = phase, ""

    def _close(self) -> None:
        now = _now()
        wall, cpu = (after - before for after, before in zip(now, self._mark, strict=True))
        span = self.spans.setdefault(self._phase, Span(self._phase))
        parts = [span, span.checks.setdefault(self._check, Span(self._check, inner=True))] if self._check else [span]
        for part in parts:
            part.wall, part.cpu = part.wall + wall, part.cpu + cpu
        self._mark = now

    def table(self) -> Table:
        """The phases in the order in which they began, and the checks that take long."""
        self.begin("the end")
        table = Table("", "wall s", "CPU s", box=None, title="timings from the call on", title_justify="left")
        for name in ("wall s", "CPU s"):
            next(column for column in table.columns if column.header == name).justify = "right"
        for span in self.spans.values():
            _row(table, span)
            for check in span.checks.values():
                if check.wall >= LEAST_SECONDS:
                    _row(table, check)
        table.add_row("from Enter to the verdict", _seconds(self.verdict), _seconds(self.verdict_cpu))
        table.add_row("to the end", f"{self._mark[0] - self.entered:.2f}", f"{self._mark[1]:.2f}")
        return table

    def to_json(self) -> dict[str, Any]:
        """The seconds by phase, and those until the verdict was known."""
        return {
            "verdict": self.verdict,
            "verdict_cpu": self.verdict_cpu,
            "cpu": self._mark[1],
            "phases": {
                span.name: {"wall": round(span.wall, 3), "cpu": round(span.cpu, 3)} for span in self.spans.values()
            },
        }


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _row(table: Table, span: Span) -> None:
    table.add_row(f"{'  ' * span.inner}{span.name}", f"{span.wall:.2f}", f"{span.cpu:.2f}")
