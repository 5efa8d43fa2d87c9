"""A rollout from its beginning to its end: a proxy in front of both servers, where it has one, beside an analysis.

The analysis is a child process. When it dies, whatever it had said is no conclusion; when this process dies, it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec

from firstfault.monitor.masking import key_of
from firstfault.monitor.proxy import Proxied, Upstream, serve
from firstfault.monitor.recorder import Recorder, recorder_of
from firstfault.monitor.rollout.analysis import Task
from firstfault.monitor.rollout.plan import Mode
from firstfault.monitor.rollout.shadowing import Limits, Mirror, Shadowed
from firstfault.monitor.rollout.splitting import Route, Split
from firstfault.monitor.rollout.standing import Standing, nothing_yet
from firstfault.monitor.settings import Settings
from firstfault.runs.ownership import ends_with_us

LINE_BYTES = 16 << 20
ENDING_SECONDS, CLOSING_SECONDS = 20.0, 10.0
"""How long an analysis may take for its last look, and the writer for what is left."""
Tell = Callable[[Standing], None]


@dataclass
class Front:
    """The proxy of a rollout."""

    champion: Upstream
    challenger: Upstream
    host: str
    port: int
    share: float = 1.0
    header: bytes = b""
    limits: Limits = field(default_factory=Limits)
    dropped: Counter[str] = field(default_factory=Counter)
    """What became of the copies."""

    def open(
        self, settings: Settings, mode: Mode, ready: Callable[[int], None], stop: asyncio.Event
    ) -> tuple[Coroutine[Any, Any, None], Callable[[], None]]:
        """What serves until it is told to stop, and what leaves the challenger out from now on."""
        recorder = recorder_of(settings)
        if mode is Mode.SHADOW:
            mirror = Mirror(recorder, self.challenger, self.limits, self.share)
            self.dropped = mirror.counts
            return self._mirrored(recorder, mirror, ready, stop), partial(setattr, mirror, "share", 0.0)
        route = Route(self.challenger, self.share, self.header, key_of(settings.folder))
        split = partial(Split, route=route)
        return self._serve(recorder, split, ready, stop), partial(setattr, route, "share", 0.0)

    async def _mirrored(
        self, recorder: Recorder, mirror: Mirror, ready: Callable[[int], None], stop: asyncio.Event
    ) -> None:
        try:
            await self._serve(recorder, partial(Shadowed, mirror=mirror), ready, stop)
        finally:
            await mirror.close()

    def _serve(
        self,
        recorder: Recorder,
        proxied: Callable[[Recorder, Upstream, set[Proxied]], Proxied],
        ready: Callable[[int], None],
        stop: asyncio.Event,
    ) -> Coroutine[Any, Any, None]:
        return serve(recorder, self.champion, self.host, self.port, ready, stop, proxied)


def conduct(task: Task, tell: Tell, front: Front | None, ready: Callable[[int], None], *, stay: bool) -> Standing:
    """Carry a rollout out; how it stands when it has ended. Ctrl-C and SIGTERM end it.

    Args:
        task: of the analysis.
        tell: called with each standing.
        front: the proxy; None where the arms are recorded by others.
        ready: called with the port of the proxy.
        stay: whether the proxy and the endpoint stay after the end, without the challenger, until Ctrl-C or SIGTERM.

    Raises:
        OSError: when a port can't be had.
    """
    try:
        return asyncio.run(_Rollout(task, tell, front, ready, stay).run())
    finally:
        if front is not None:
            recorder_of(task.settings).close(CLOSING_SECONDS)


@dataclass
class _Rollout:
    task: Task
    tell: Tell
    front: Front | None
    ready: Callable[[int], None]
    stay: bool
    last: Standing = field(default_factory=lambda: nothing_yet("nothing is known yet"))

    async def run(self) -> Standing:
        stop, over = asyncio.Event(), asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        serving, leave_out = await self._open(over)
        process = await _started(self.task)
        listening = asyncio.create_task(self._listen(process))
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({listening, stopped}, return_when=asyncio.FIRST_COMPLETED)
            leave_out()
            if listening.done() and self.stay:
                await stop.wait()
            await self._end(process, listening)
        finally:
            stopped.cancel()
            over.set()
            _kill(process)
            await process.wait()
            await serving
        return self.last

    async def _open(self, over: asyncio.Event) -> tuple[asyncio.Future[None], Callable[[], None]]:
        """Have the proxy listen, before anything else begins."""
        if self.front is None:
            nothing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            nothing.set_result(None)
            return nothing, lambda: None
        open_ = asyncio.Event()

        def ready(port: int) -> None:
            self.ready(port)
            open_.set()

        work, leave_out = self.front.open(self.task.settings, self.task.plan.mode, ready, over)
        serving, opening = asyncio.ensure_future(work), asyncio.create_task(open_.wait())
        await asyncio.wait({serving, opening}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            opening.cancel()
            await serving
        return serving, leave_out

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        """Hear what the analysis says, until it says that it has ended, or dies."""
        assert process.stdout is not None
        decode = msgspec.json.Decoder(Standing).decode
        while line := await process.stdout.readline():
            self.last = decode(line)
            self.tell(self.last)
            if self.last.ended:
                return
        self.last = _died(self.last, await process.wait())
        self.tell(self.last)

    async def _end(self, process: asyncio.subprocess.Process, listening: asyncio.Task[None]) -> None:
        """Ask the analysis for its last look."""
        if not listening.done():
            _signal(process, signal.SIGTERM)
            await asyncio.wait({listening}, timeout=ENDING_SECONDS)
        if not listening.done():
            listening.cancel()
            self.last = _died(self.last, None)
            self.tell(self.last)
        elif (error := listening.exception()) is not None:
            raise error


def _died(last: Standing, code: int | None) -> Standing:
    """What stands when an analysis ended without saying so: nothing is concluded, whatever it was about to say."""
    why = "the analysis did not end" if code is None else f"the analysis died (exit status {code})"
    lost = nothing_yet(f"{why}; it had looked at {last.comparison.after} requests")
    return msgspec.structs.replace(
        lost, champion=last.champion, challenger=last.challenger, disagreed=last.disagreed, time=last.time, ended=why
    )


async def _started(task: Task) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "firstfault.monitor.rollout.analysis"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LINE_BYTES,
        start_new_session=True,  # a Ctrl-C is told to it when the requests under way are over
        preexec_fn=ends_with_us(),
    )
    assert process.stdin is not None
    with contextlib.suppress(ConnectionError):  # it is dead, which is seen when it says nothing
        process.stdin.write(msgspec.json.encode(task))
        await process.stdin.drain()
        process.stdin.close()
    return process


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)


def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        _signal(process, signal.SIGTERM)
        asyncio.get_running_loop().call_later(2.0, _signal, process, signal.SIGKILL)
