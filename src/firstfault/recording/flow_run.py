"""A flow run that another process records: this one does the work, and tells it step by step.

A server that hangs or dies holds nothing up.

The process is `firstfault.flows.recorder`. It reads lines of JSON, and answers with the id of its flow run.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from types import TracebackType

from firstfault import progress
from firstfault.errors import PrerequisiteError
from firstfault.finding import Layer
from firstfault.recording.steps import Ended, Examined, FlowRun, Opened, Steps, Swept
from firstfault.runs.processes import accepts, answers, running
from firstfault.runs.state import State
from firstfault.verdict import Outcome

logger = logging.getLogger(__name__)
RECORDER = "firstfault.flows.recorder"
KNOWN_SECONDS, END_SECONDS, ABANDONED_SECONDS = 20.0, 60.0, 1.5
"""How long to wait for the id of the flow run, for its end, and for its end after a signal."""
ASK_SECONDS, ASKS = 3.0, 2
"""At the end, a server that gives no sign of health so many times in a row, each so long, is not waited for."""
TOLD_SECONDS = 1.0
"""The distance of two words about progress."""


def api_for_a_run(state: State) -> str | None:
    """The API of the Prefect server that `PREFECT_API_URL` names or `firstfault up` started; None where there is none.

    Raises:
        PrerequisiteError: when the one that is named does not answer.
    """
    if url := os.environ.get("PREFECT_API_URL"):
        if not answers(_health(url)):
            why = ", but it takes connections without a word" if accepts(url) else ", but it does not"
            raise PrerequisiteError(f"Prefect must answer at {url}{why}; start it, or unset PREFECT_API_URL")
        return url
    service = running(state).get("prefect")
    if service is None:
        return None
    url = f"{service.url}/api"
    if not answers(_health(url)):
        logger.warning(
            "the Prefect server of `firstfault up` does not answer at %s; the run goes on without it", service.url
        )
        return None
    return url


def _health(api: str) -> str:
    return f"{api.rstrip('/')}/health"


class Recorded(Steps):
    """Carries out each step at once, and tells the process that records it as a flow run."""

    shows_pages = True

    def __init__(self, flow: str, parameters: Mapping[str, object], api: str, state: State) -> None:
        self.api = api
        self._words: queue.SimpleQueue[dict[str, object] | None] = queue.SimpleQueue()
        self._flow_run: FlowRun | None = None
        self._known = threading.Event()
        self._lost = self._closing = False
        self._told = 0.0
        state.services.mkdir(parents=True, exist_ok=True)
        with (state.services / "recorder.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", RECORDER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "PREFECT_API_URL": api},
                cwd=state.home.parent,
            )
        self._tell("begin", flow=flow, parameters=dict(parameters))
        for work in (self._write, self._read):
            threading.Thread(target=work, daemon=True, name="flow run").start()

    def __enter__(self) -> Recorded:
        self._listening = progress.listening(self._follow)
        self._listening.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listening.__exit__(kind, error, trace)
        self._close(END_SECONDS if kind is None or issubclass(kind, Exception) else ABANDONED_SECONDS)

    @property
    def flow_run(self) -> FlowRun | None:
        """The flow run, waited for a little where it is not yet known."""
        return self._flow_run

    def open(self, work: Callable[[], Opened]) -> Opened:
        """Tell that the run is opened."""
        self._tell("open")
        opened = work()
        self._tell("opened", **asdict(opened))
        return opened

    def examine(self, layer: Layer, work: Callable[[], Examined | None]) -> Examined | None:
        """Tell of a layer."""
        self._tell("examine", layer=layer.value)
        examined = work()
        self._tell("examined", examined=examined.to_json() if examined is not None else None)
        return examined

    def confirm(self, layer: Layer, work: Callable[[], list[Outcome]]) -> list[Outcome]:
        """Tell of the swaps."""
        self._tell("confirm", layer=layer.value)
        outcomes = work()
        self._tell("confirmed", outcomes=[outcome.to_json() for outcome in outcomes])
        return outcomes

    def sweep(self, work: Callable[[], Swept]) -> Swept:
        """Tell of the trainings of a sweep."""
        self._tell("sweep")
        swept = work()
        self._tell("swept", **asdict(swept))
        return swept

    def conclude(self, work: Callable[[], Ended]) -> Ended:
        """Tell the verdict."""
        self._tell("conclude")
        self._await_flow_run()
        ended = work()
        self._tell("concluded", ended=ended.to_json())
        return ended

    def say(self, text: str) -> None:
        """A line for the log of the flow run."""
        self._tell("say", text=text)

    def abandoned(self, error: BaseException) -> None:
        """Tell that no verdict will come."""
        self._tell(
            "abandoned", killed=not isinstance(error, Exception), text=f"{type(error).__name__}: {error}".rstrip(": ")
        )

    def _tell(self, kind: str, **values: object) -> None:
        self._words.put({"kind": kind, **values})

    def _follow(self, event: progress.Event) -> None:
        if isinstance(event, progress.CheckStarted):
            step = progress.Step(event.layer, event.check, event.done / max(event.total, 1))
        elif isinstance(event, progress.Step):
            step = event
        else:
            return
        if time.monotonic() - self._told > TOLD_SECONDS:
            self._told = time.monotonic()
            self._tell("progress", layer=step.layer.value, text=step.text, share=step.share)

    def _write(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError), self._process.stdin as stream:
            while (word := self._words.get()) is not None:
                stream.write(json.dumps(word, default=str).encode() + b"\n")
                stream.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with contextlib.suppress(ValueError, KeyError):
                values = json.loads(line)
                self._flow_run = FlowRun(values["id"], values["url"])
                self._known.set()
        self._known.set()
        if not self._closing:
            self._lose()

    def _lose(self) -> None:
        if not self._lost:
            self._lost = True
            logger.warning("Prefect no longer answers at %s; the run goes on without it", self.api)

    def _await_flow_run(self) -> None:
        if not self._known.wait(KNOWN_SECONDS):
            self._lose()
            self._kill()

    def _close(self, seconds: float) -> None:
        """Wait for the end of the flow run while its server shows signs of life; after a signal, only briefly."""
        self._closing = True
        self._words.put(None)
        ended = self._ended_within(seconds)
        self._kill()
        if seconds == END_SECONDS and not (ended and self._process.returncode == 0):
            self._lose()

    def _ended_within(self, seconds: float) -> bool:
        deadline, silent = time.monotonic() + seconds, 0
        while time.monotonic() < deadline and silent < ASKS:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(min(1.0, seconds))
                return True
            silent = 0 if answers(_health(self.api), ASK_SECONDS) else silent + 1
        return False

    def _kill(self) -> None:
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
