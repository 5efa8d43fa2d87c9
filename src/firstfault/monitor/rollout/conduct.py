"""A rollout from its beginning to its end: a proxy in front of both servers, where it has one, beside an analysis.

The analysis is a child process. When it dies, whatever it had said is no conclusion; when this process dies, it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import msgspec

from firstfault.data.privacy.keyed import key_of
from firstfault.monitor.proxy import serve
from firstfault.monitor.recorder import Recorder, recorder_of
from firstfault.monitor.ring import Ring
from firstfault.monitor.rollout.analysis import Task
from firstfault.monitor.rollout.child import kill, started, tell
from firstfault.monitor.rollout.mirror import MirrorTask
from firstfault.monitor.rollout.plan import Mode
from firstfault.monitor.rollout.shadowing import Copies, Limits, Shadowed
from firstfault.monitor.rollout.splitting import Route, Split
from firstfault.monitor.rollout.standing import Standing, nothing_yet
from firstfault.monitor.serving import open_all_files
from firstfault.monitor.upstream import Upstream

ENDING_SECONDS, CLOSING_SECONDS = 60.0, 10.0
"""How long an analysis may take for its last look, and writers for what is left."""
Tell = Callable[[Standing], None]


@dataclass
class Front:
    """The proxy of a rollout, with its mirror in shadow mode."""

    champion: Upstream
    challenger: Upstream
    host: str
    port: int
    share: float = 1.0
    header: bytes = b""
    limits: Limits = field(default_factory=Limits)
    counts: Counter[str] = field(default_factory=Counter)
    """What became of the copies."""
    leave_out: Callable[[], None] = lambda: None
    """Gives the challenger nothing from now on."""
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the mirror has died."""

    async def serve(self, task: Task, ready: Callable[[int], None], stop: asyncio.Event) -> None:
        """Serve until it is told to stop.

        Raises:
            OSError: when the port can't be had.
        """
        open_all_files()
        recorder = recorder_of(task.settings)
        if task.plan.mode is Mode.SHADOW:
            await self._shadow(recorder, ready, stop)
            return
        route = Route(self.challenger, self.share, self.header, key_of(task.settings.folder))
        self.leave_out = partial(setattr, route, "share", 0.0)
        await serve(recorder, self.champion, self.host, self.port, ready, stop, partial(Split, route=route))

    async def _shadow(self, recorder: Recorder, ready: Callable[[int], None], stop: asyncio.Event) -> None:
        ring = Ring.of(self.limits.queue_bytes)
        copies = Copies(ring, self.limits, self.share)
        self.leave_out = partial(setattr, copies, "share", 0.0)
        task = MirrorTask(recorder.settings, self.challenger, self.limits)
        mirror = await started("firstfault.monitor.rollout.mirror", task, ring.descriptor)
        heard = asyncio.create_task(self._hear(mirror, stop))
        try:
            proxied = partial(Shadowed, copies=copies)
            await serve(recorder, self.champion, self.host, self.port, ready, stop, proxied)
        finally:
            ring.begin_closing()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(heard, CLOSING_SECONDS)
            kill(mirror)
            await mirror.wait()
            self.counts.update(copies.counts)
            ring.close()

    async def _hear(self, mirror: asyncio.subprocess.Process, stop: asyncio.Event) -> None:
        """Hear what becomes of the copies, until the mirror ends, or dies."""
        assert mirror.stdout is not None
        while line := await mirror.stdout.readline():
            self.counts = Counter(msgspec.json.decode(line, type=dict[str, int]))
        if not stop.is_set():
            self.lost.set()


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
        serving = await self._open(over)
        process = await started("firstfault.monitor.rollout.analysis", self.task)
        listening = asyncio.create_task(self._listen(process))
        lost = self.front.lost if self.front is not None else asyncio.Event()
        ends = [asyncio.create_task(event.wait()) for event in (stop, lost)]
        try:
            await asyncio.wait({listening, *ends}, return_when=asyncio.FIRST_COMPLETED)
            if self.front is not None:
                self.front.leave_out()
            if lost.is_set():
                await self._end(process, listening)
                self.last = _without_copies(self.last)
            if self.stay:
                await stop.wait()
            await self._end(process, listening)
        finally:
            for end in ends:
                end.cancel()
            over.set()
            kill(process)
            await process.wait()
            await serving
        return self.last

    async def _open(self, over: asyncio.Event) -> asyncio.Future[None]:
        """Have the proxy listen, before anything else begins."""
        if self.front is None:
            return asyncio.ensure_future(_until(over))
        opened = asyncio.Event()

        def ready(port: int) -> None:
            self.ready(port)
            opened.set()

        serving = asyncio.ensure_future(self.front.serve(self.task, ready, over))
        opening = asyncio.create_task(opened.wait())
        await asyncio.wait({serving, opening}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            opening.cancel()
            await serving
        return serving

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
            tell(process, signal.SIGTERM)
            await asyncio.wait({listening}, timeout=ENDING_SECONDS)
        if not listening.done():
            listening.cancel()
            self.last = _died(self.last, None)
            self.tell(self.last)
        elif (error := listening.exception()) is not None:
            raise error


async def _until(over: asyncio.Event) -> None:
    await over.wait()


def _without_copies(last: Standing) -> Standing:
    """What stands when no more copies could be made; what was concluded by then is."""
    return last if last.decided else msgspec.structs.replace(last, ended="the mirror died")


def _died(last: Standing, code: int | None) -> Standing:
    """What stands when an analysis ended without saying so: nothing is concluded, whatever it was about to say."""
    why = "the analysis did not end" if code is None else f"the analysis died (exit status {code})"
    lost = nothing_yet(f"{why}; it had looked at {last.comparison.after} requests")
    return msgspec.structs.replace(
        lost, champion=last.champion, challenger=last.challenger, disagreed=last.disagreed, time=last.time, ended=why
    )
