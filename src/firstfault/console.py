"""What a person sees in the terminal while a flow runs: the layers live, or plain lines without a terminal."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from firstfault import progress
from firstfault.errors import FirstfaultError
from firstfault.finding import LADDER, Finding, Layer, LayerReport, Status
from firstfault.state import State, configure_environment, state_for
from firstfault.verdict import Verdict

LEAST_BYTES, FULL_BYTES = 50 * 2**20, 2**20
MARKS = {
    Status.PASS: ("✓", "green"), Status.WARN: ("!", "yellow"), Status.FAIL: ("✗", "bold red"),
    Status.ERROR: ("E", "magenta"), Status.SKIPPED: ("–", "dim"),
}


@dataclass(frozen=True)
class Ended:
    """How a debug run ended: its verdict, and where its files are."""

    verdict: Verdict
    folder: str
    report: str | None


def watch_debug(
    target: str,
    *,
    depth: str,
    keep_going: bool,
    only: str | None,
    overrides: Mapping[str, str],
    dataset: str | None,
    where: str | None = None,
    console: Console | None = None,
) -> Ended:
    """Run the flow `debug` in this process, show it, and return how it ended.

    Raises:
        FirstfaultError: for a bad target, or a server that does not answer.
    """
    from firstfault.session import locate, preflight

    console = console or Console()
    place = locate(target)
    chosen = str(Path(dataset).resolve()) if dataset and Path(dataset).exists() else dataset
    with _quiet(console), console.status("loading the target") if console.is_terminal else nullcontext():
        name = preflight(place, overrides, chosen, where).name
        state = _enter(place)
        _with_prefect(state)
    view = View(console, f"{name}, {where} alone" if where else name)
    with _quiet(console), progress.listening(view), view:
        from firstfault.flows.debug import debug

        with _told_when_full(state):
            final = debug(
                place, depth=depth, keep_going=keep_going, only=only, dataset=chosen, overrides=dict(overrides), where=where,
                return_state=True,
            )
            if view.ended is None:
                _raise(final)
    return _show_end(console, view)


def watch_sweep(target: str, *, overrides: Mapping[str, str], **settings: Any) -> dict[str, Any]:
    """Run the flow `sweep` in this process, show it, and return its table; `settings` are the flow's parameters.

    Raises:
        FirstfaultError: for a bad target or bad settings, or a server that does not answer.
    """
    from firstfault.ablation.plan import expect
    from firstfault.report.sweep_terminal import show_sweep
    from firstfault.session import locate, preflight

    console = Console()
    place = locate(target)
    with _quiet(console):
        expect(settings)
        name = preflight(place, overrides).name
        state = _enter(place)
        _with_prefect(state)
    view = View(console, name, layers=(), doing="ablating")
    with _quiet(console), progress.listening(view), view:
        from firstfault.flows.sweep import sweep

        with _told_when_full(state):
            final = sweep(place, overrides=dict(overrides), **settings, return_state=True)
            if not final.is_completed():
                _raise(final)
    result: dict[str, Any] = final.result()
    show_sweep(console, result)
    return result


def _enter(place: str) -> State:
    from firstfault.target import is_path, split_spec

    path = split_spec(place)[0]
    state = state_for(Path(path).parent if is_path(path) else Path.cwd())
    try:
        state.home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FirstfaultError(f"the state folder {state.home} must be writable, but: {error.strerror}") from error
    free = shutil.disk_usage(state.home).free
    if free < LEAST_BYTES:
        raise FirstfaultError(
            f"the disk of {state.home} must have {LEAST_BYTES // 2**20} MB free, but has {free // 2**20}; "
            "free some, or set FIRSTFAULT_HOME to a folder on another disk"
        )
    configure_environment(state)
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    return state


@contextmanager
def _told_when_full(state: State) -> Iterator[None]:
    """Say that the disk is full where that made a run fail, in whatever library."""
    try:
        yield
    except Exception as error:
        if shutil.disk_usage(state.home).free > FULL_BYTES:
            raise
        raise FirstfaultError(
            f"the disk of {state.home} ran full during the run; what was measured until then is in {state.runs}"
        ) from error


def _with_prefect(state: State) -> None:
    """Start or find the Prefect server while the heavy libraries are imported."""
    from firstfault.services import prefect_for_a_run

    failures: list[Exception] = []

    def find() -> None:
        try:
            os.environ["PREFECT_API_URL"] = prefect_for_a_run(state)
        except Exception as error:
            failures.append(error)

    finder = threading.Thread(target=find, daemon=True)
    finder.start()
    import mlflow  # noqa: F401
    import torch  # noqa: F401

    finder.join()
    if failures:
        raise failures[0]


def _raise(final: Any) -> None:
    error = final.result(raise_on_failure=False)
    if isinstance(error, BaseException):
        raise error
    raise FirstfaultError(f"the flow ended without a verdict, in the state {final.name}: {final.message}")


class View:
    """The layers as they are examined; a listener of `firstfault.progress`."""

    def __init__(self, console: Console, target: str, layers: Sequence[Layer] = LADDER, doing: str = "debugging") -> None:
        self.console, self.layers, self.title = console, layers, f"{doing} {target}"
        self.reports: dict[Layer, LayerReport] = {}
        self.running: Layer | None = None
        self.text = ""
        self.ended: Ended | None = None
        self.started = time.perf_counter()
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=8, transient=True)

    def __enter__(self) -> View:
        if self.console.is_terminal:
            self._live.start()
        else:
            self.console.print(self.title)
        return self

    def __exit__(self, *_: object) -> None:
        if self.console.is_terminal:
            self._live.stop()

    def __call__(self, event: progress.Event) -> None:
        match event:
            case progress.LayerStarted(layer):
                self.running, self.text = layer, ""
            case progress.CheckStarted(_, check, done, total):
                self.text = f"{check} ({done + 1} of {total})"
            case progress.Step(layer, text):
                self.running, self.text = layer, text
                self._line(f"  {text}")
            case progress.Found(finding) if finding.status in (Status.FAIL, Status.WARN, Status.ERROR):
                self._line(f"  {MARKS[finding.status][0]} {finding.check}: {finding.message}")
            case progress.LayerEnded(report):
                self.reports[report.layer], self.running = report, None
                self._line(f"{MARKS[report.status][0]} {report.layer} {report.seconds:.1f} s")
            case progress.Concluded(verdict, folder, report_file):
                self.ended = Ended(verdict, folder, report_file)

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
        return Text(mark, style=style), Text(layer.value), Text(f"{report.seconds:5.1f} s  {_worst(report)}", overflow="ellipsis")


def _worst(report: LayerReport) -> str:
    bad: list[Finding] = [f for f in report.findings if f.status in (Status.FAIL, Status.ERROR)]
    bad = bad or [f for f in report.findings if f.status is Status.WARN]
    if not bad:
        return f"{len(report.findings)} findings, none bad"
    more = f" (+{len(bad) - 1} more)" if len(bad) > 1 else ""
    return f"{bad[0].check}: {bad[0].message}{more}"


def _show_end(console: Console, view: View) -> Ended:
    from firstfault.report.terminal import render_verdict

    ended = view.ended
    if ended is None:
        raise FirstfaultError("the flow ended without a verdict")
    console.print(render_verdict(ended.verdict))
    console.print(f"report   {ended.report or 'could not be written'}", soft_wrap=True, highlight=False)
    console.print(f"MLflow   {_mlflow_place(ended)}", soft_wrap=True, highlight=False)
    api = os.environ.get("PREFECT_API_URL", "").removesuffix("/api")
    console.print(f"Prefect  {api}/runs/flow-run/{ended.verdict.prefect_flow_run_id}", soft_wrap=True, highlight=False)
    return ended


def _mlflow_place(ended: Ended) -> str:
    from firstfault.tracking.links import server_url

    state = State(Path(ended.folder).parent.parent)
    server = server_url(state, state.mlflow_uri)
    run = f"run {ended.verdict.mlflow_run_id}"
    return f"{server} ({run})" if server else f"{state.mlflow_uri} ({run}; `firstfault up` serves it)"


@contextmanager
def _quiet(console: Console) -> Iterator[None]:
    """Keep other libraries' chatter off the screen; firstfault's own warnings are shown as lines."""
    handler = _Lines(console)
    own = logging.getLogger("firstfault")
    own.addHandler(handler)
    own.propagate = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            own.removeHandler(handler)
            own.propagate = True


class _Lines(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        self.console.print(f"! {record.getMessage()}", style="yellow", markup=False, highlight=False)
