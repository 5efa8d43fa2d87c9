"""A flow run for a person in a terminal: what it needs is found first, it is shown while it runs, and its end is told."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from firstfault import progress
from firstfault.errors import FirstfaultError
from firstfault.live_view import Ended, View
from firstfault.state import State, configure_environment, state_for
from firstfault.terminal import Terminal

LEAST_BYTES, FULL_BYTES = 50 * 2**20, 2**20
def watch_debug(
    target: str,
    *,
    depth: str,
    keep_going: bool,
    only: str | None,
    overrides: Mapping[str, str],
    dataset: str | None,
    where: str | None = None,
    console: Terminal | None = None,
) -> Ended:
    """Run the flow `debug` in this process, show it, and return how it ended.

    Raises:
        FirstfaultError: for a bad target, or a server that does not answer.
    """
    from firstfault.session import locate, preflight

    console = console or Terminal()
    place = locate(target)
    chosen = str(Path(dataset).resolve()) if dataset and Path(dataset).exists() else dataset
    with _quiet(console), console.status("loading the target") if console.is_terminal else nullcontext():
        name = preflight(place, overrides, chosen, where).name
        state = _enter(place)
        _with_prefect(state)
    view = View(console, f"{name}, {where} alone" if where else name)
    with _told_when_interrupted(view), _quiet(console), progress.listening(view), view:
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

    console = Terminal()
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
    from firstfault.target_file import is_path, split_spec

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
def _told_when_interrupted(view: View) -> Iterator[None]:
    """Say after Ctrl-C where the files of a run are."""
    try:
        yield
    except KeyboardInterrupt:
        kept = f"what was measured is in {view.folder}" if view.folder else "nothing was measured yet"
        Terminal(stderr=True).print(f"firstfault: interrupted; {kept}", markup=False, highlight=False, soft_wrap=True)
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


def _show_end(console: Terminal, view: View) -> Ended:
    from firstfault.report.terminal import render_verdict

    ended = view.ended
    if ended is None:
        raise FirstfaultError("the flow ended without a verdict")
    console.print(render_verdict(ended.verdict))
    console.print(f"report   {ended.report or 'could not be written'}", soft_wrap=True)
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
def _quiet(console: Terminal) -> Iterator[None]:
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
    def __init__(self, console: Terminal) -> None:
        super().__init__(logging.WARNING)
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        self.console.print(f"! {record.getMessage()}", style="yellow", markup=False, highlight=False)
