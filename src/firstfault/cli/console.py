"""A run for a person in a terminal: what it needs is found first, it is shown while it runs, and its end is told."""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from firstfault import progress
from firstfault.cli.live_view import View
from firstfault.cli.terminal import Terminal
from firstfault.cli.timings import TIMINGS, Timings
from firstfault.errors import FirstfaultError
from firstfault.imports import uncollected
from firstfault.output.whole_files import write_json
from firstfault.recording.steps import Ended, RunSettings, Steps, SweepPlan, Swept
from firstfault.runs import guard
from firstfault.runs.default_target import note_target
from firstfault.runs.login import how_to_log_in, is_own, log_in
from firstfault.runs.processes import private_files
from firstfault.runs.state import State, configure_environment, state_here
from firstfault.texts import encodable

if TYPE_CHECKING:
    from firstfault.recording.incident_run import IncidentSettings

LEAST_BYTES, FULL_BYTES = 50 * 2**20, 2**20
"""Room on the disk below which no run begins, and below which a write failed for want of it."""
UNRECORDED = "no Prefect server records this run; `firstfault up` starts one, and PREFECT_API_URL names another"


@private_files()
def watch_debug(
    settings: RunSettings, *, bare: bool = False, console: Terminal | None = None, timings: bool = False
) -> Ended:
    """Debug a target in this process, show it, and return how it ended; with `timings`, also where the time went.

    With a Prefect server, and unless it is `bare`, a flow run records it.

    Raises:
        FirstfaultError: for a bad target, or a server that does not answer.
    """
    clock = Timings()
    clock.begin("imports")
    with uncollected():
        from firstfault.cli.preflight import preflight
        from firstfault.target.locate import locate

    clock.begin("loading the target")
    console = console or Terminal()
    dataset = settings.dataset
    chosen = str(Path(dataset).resolve()) if dataset and Path(dataset).exists() else dataset
    settings = replace(settings, target=locate(settings.target), dataset=chosen)
    _expect_text(target=settings.target, dataset=chosen)
    with _quiet(console), progress.in_run():
        with console.status("loading the target") if console.is_terminal else nullcontext():
            guard.tell(home=str(state_here().home))
            loaded = preflight(settings.target, settings.overrides, chosen, settings.where)
            state = _enter(settings.target)
        view = View(console, f"{loaded.target.name}, {settings.where} alone" if settings.where else loaded.target.name)
        with (
            _told_when_interrupted(view),
            _steps("debug", settings.to_json(), state, bare) as steps,
            progress.listening(clock),
            progress.listening(view),
            view,
        ):
            clock.begin("imports")
            with uncollected():
                from firstfault.recording.debug_run import debug

            with _told_when_full(state):
                ended = debug(settings, steps, loaded)
    _show_end(console, ended, recorded=not bare)
    if timings:
        console.print(clock.table())
        write_json(Path(ended.folder) / TIMINGS, clock.to_json())
    return ended


@private_files()
def watch_sweep(plan: SweepPlan, *, bare: bool = False) -> dict[str, Any]:
    """Run a sweep in this process, show it, and return its table.

    With a Prefect server, and unless it is `bare`, a flow run records it.

    Raises:
        FirstfaultError: for a bad target or a bad plan, or a server that does not answer.
    """
    with uncollected():
        from firstfault.ablation.sweeps.plan import expect
        from firstfault.cli.preflight import preflight
        from firstfault.report.sweep_terminal import show_sweep
        from firstfault.target.locate import locate

    console = Terminal()
    plan = replace(plan, target=locate(plan.target))
    _expect_text(target=plan.target)
    with _quiet(console), progress.in_run():
        expect(plan.to_json())
        guard.tell(home=str(state_here().home))
        loaded = preflight(plan.target, plan.overrides)
        state = _enter(plan.target)
        view = View(console, loaded.target.name, layers=(), doing="ablating")
        with _steps("sweep", plan.to_json(), state, bare) as steps, progress.listening(view), view:
            from firstfault.recording.sweep_run import sweep

            with _told_when_full(state):
                swept: Swept = sweep(plan, steps, loaded)
    show_sweep(console, swept.result)
    if not bare:
        _show_flow_run(console, swept.flow_url, state)
    return dict(swept.result)


@private_files()
def watch_incident(settings: IncidentSettings, *, bare: bool = False, console: Terminal | None = None) -> Ended:
    """Diagnose an incident in this process, show it, and return how it ended.

    With a Prefect server, and unless it is `bare`, a flow run records it.

    Raises:
        FirstfaultError: for an incident, a target or a store that is not what it must be.
        StoreError: when the monitor's database does not answer.
    """
    from firstfault.target.locate import locate

    console = console or Terminal()
    settings = replace(settings, target=locate(settings.target) if settings.target else "")
    with _quiet(console), progress.in_run():
        guard.tell(home=str(state_here().home), doing="loading")
        state = _enter(settings.target)
        with uncollected():
            from firstfault.recording.incident_run import diagnose_incident
        view = View(console, settings.incident or "the requests of a time")
        with (
            _told_when_interrupted(view),
            _steps("incident", settings.to_json(), state, bare) as steps,
            progress.listening(view),
            view,
            _told_when_full(state),
        ):
            ended = diagnose_incident(settings, steps)
    _show_end(console, ended, recorded=not bare)
    return ended


def _steps(flow: str, parameters: Mapping[str, Any], state: State, bare: bool) -> Any:
    """How the steps of a run are carried out: recorded by a flow run, where a server is known."""
    from firstfault.recording.flow_run import Recorded, api_for_a_run

    api = None if bare else api_for_a_run(state)
    return nullcontext(Steps()) if api is None else Recorded(flow, parameters, api, state)


def _expect_text(**paths: str | None) -> None:
    """Expect paths that a server can be told of: a file's name may be bytes that are no UTF-8."""
    for name, path in paths.items():
        if path is not None and encodable(path) != path:
            raise FirstfaultError(
                f"the {name} must have a path that UTF-8 can write, since Prefect and MLflow keep it, but got {path!r}"
            )


def _enter(place: str) -> State:
    from firstfault.tracking.store import expect_store

    state = state_here()
    _expect_text(**{"state folder": str(state.home)})
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
    if place:
        note_target(state, place)
    log_in(state)
    expect_store(state)
    return state


@contextmanager
def _told_when_interrupted(view: View) -> Iterator[None]:
    """Say after Ctrl-C where the files of a run are; where a guard waits, it is the guard that says so."""
    try:
        yield
    except KeyboardInterrupt:
        if not guard.is_guarded():
            kept = f"what was measured is in {view.folder}" if view.folder else "nothing was measured yet"
            Terminal(stderr=True).print(
                f"firstfault: interrupted; {kept}", markup=False, highlight=False, soft_wrap=True
            )
        raise


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


def _show_end(console: Terminal, ended: Ended, *, recorded: bool) -> None:
    console.print(f"report   {ended.report or 'could not be written'}", soft_wrap=True, highlight=False, markup=False)
    console.print(f"MLflow   {ended.mlflow}", soft_wrap=True, highlight=False, markup=False)
    if recorded:
        _show_flow_run(console, ended.flow_url, State(Path(ended.folder).parent.parent))


def _show_flow_run(console: Terminal, url: str | None, state: State) -> None:
    console.print(f"Prefect  {url or UNRECORDED}", soft_wrap=True, highlight=False, markup=False)
    if url is not None and is_own(state, url):
        console.print(f"log in   {how_to_log_in(state)}", soft_wrap=True, highlight=False, markup=False)


@contextmanager
def _quiet(console: Terminal) -> Iterator[None]:
    """Keep other libraries' chatter off the screen; firstfault's own warnings are shown as lines."""
    handler = _Lines(console)
    own = logging.getLogger("firstfault")
    own.addHandler(handler)
    own.propagate = False
    with warnings.catch_warnings(record=True):  # recorded, since MLflow turns some of its own on again
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            own.removeHandler(handler)
            own.propagate = True


class _Lines(logging.Handler):
    def __init__(self, console: Terminal) -> None:
        super().__init__(logging.WARNING)
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        self.console.print(f"! {record.getMessage()}", style="yellow", markup=False, highlight=False, soft_wrap=True)
