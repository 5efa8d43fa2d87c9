"""The layers of a run as they are examined: live in a terminal, as plain lines without one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from firstfault import progress
from firstfault.finding import LADDER, Finding, Layer, LayerReport, Status
from firstfault.verdict import Verdict

MARKS = {
    Status.PASS: ("✓", "green"),
    Status.WARN: ("!", "yellow"),
    Status.FAIL: ("✗", "bold red"),
    Status.ERROR: ("E", "magenta"),
    Status.SKIPPED: ("–", "dim"),
}


class View:
    """The layers as they are examined; a listener of `firstfault.progress`."""

    def __init__(
        self, console: Console, target: str, layers: Sequence[Layer] = LADDER, doing: str = "debugging"
    ) -> None:
        self.console, self.layers, self.title = console, layers, f"{doing} {target}"
        self.reports: dict[Layer, LayerReport] = {}
        self.running: Layer | None = None
        self.text = ""
        self.folder: str | None = None
        self.started = time.perf_counter()
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=8, transient=True)

    def __enter__(self) -> View:
        if self.console.is_terminal:
            self._live.start()
        else:
            self.console.print(self.title, markup=False, highlight=False, soft_wrap=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self.console.is_terminal:
            self._live.stop()

    def __call__(self, event: progress.Event) -> None:
        match event:
            case progress.RunOpened(_, folder, _):
                self.folder = folder
            case progress.LayerStarted(layer):
                self.running, self.text = layer, ""
            case progress.CheckStarted(_, check, done, total):
                self.text = f"{check} ({done + 1} of {total})"
            case progress.Concluded(verdict):
                self._conclude(verdict)
            case progress.Step(layer, text):
                self.running, self.text = layer, text
                self._line(f"  {text}")
            case progress.Found(finding) if finding.status in (Status.FAIL, Status.WARN, Status.ERROR):
                self._line(f"  {MARKS[finding.status][0]} {finding.check}: {finding.message}")
            case progress.LayerEnded(report):
                self.reports[report.layer], self.running = report, None
                self._line(f"{MARKS[report.status][0]} {report.layer} {report.seconds:.1f} s")

    def _conclude(self, verdict: Verdict) -> None:
        """Show the verdict at once: report and records are written after it."""
        from firstfault.report.terminal import render_verdict

        self._live.stop()
        self.console.print(render_verdict(verdict))

    def _line(self, text: str) -> None:
        if not self.console.is_terminal:
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _render(self) -> Group:
        table = Table.grid(padding=(0, 1))
        shown = [*self.layers, *(layer for layer in self.reports if layer not in self.layers)]
        if self.running and self.running not in shown:
            shown.append(self.running)
        for layer in shown:
            table.add_row(*self._row(layer))
        seconds = time.perf_counter() - self.started
        return Group(Text(f"{self.title} · {seconds:.0f} s", style="bold"), table)

    def _row(self, layer: Layer) -> tuple[Any, Text, Text]:
        report = self.reports.get(layer)
        if layer is self.running:
            return Spinner("dots"), Text(layer.value, style="bold"), Text(self.text, style="dim", overflow="ellipsis")
        if report is None:
            return Text("·", style="dim"), Text(layer.value, style="dim"), Text("")
        mark, style = MARKS[report.status]
        return (
            Text(mark, style=style),
            Text(layer.value),
            Text(f"{report.seconds:5.1f} s  {_worst(report)}", overflow="ellipsis"),
        )


def _worst(report: LayerReport) -> str:
    bad: list[Finding] = [f for f in report.findings if f.status in (Status.FAIL, Status.ERROR)]
    bad = bad or [f for f in report.findings if f.status is Status.WARN]
    if not bad:
        return f"{len(report.findings)} findings, none bad"
    more = f" (+{len(bad) - 1} more)" if len(bad) > 1 else ""
    return f"{bad[0].check}: {bad[0].message}{more}"
