"""Processes of a rollout: each ends with the one that started it, and heeds SIGTERM once it can."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable

import msgspec

from firstfault.runs.ownership import ends_with_us

LINE_BYTES = 16 << 20
"""The longest line that one says."""
KILL_SECONDS = 2.0
"""How long one may take to heed a signal, before it is ended."""


async def started(module: str, task: object, *descriptors: int) -> asyncio.subprocess.Process:
    """Start a module as a process: its task is its input, its words are lines, and descriptors its arguments."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", module, *map(str, descriptors)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LINE_BYTES,
        pass_fds=descriptors,
        start_new_session=True,  # a Ctrl-C is told to it when it is its turn
        preexec_fn=_before(ends_with_us()),
    )
    assert process.stdin is not None
    with contextlib.suppress(ConnectionError):  # it is dead, which is seen when it says nothing
        process.stdin.write(msgspec.json.encode(task))
        await process.stdin.drain()
        process.stdin.close()
    return process


def _before(ends: Callable[[], object] | None) -> Callable[[], None]:
    """What a child does first: it has SIGTERM wait for `heed_sigterm`, since it may come before there is a handler."""

    def prepare() -> None:
        if ends is not None:
            ends()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    return prepare


def heed_sigterm(stop: Callable[[], object] | None = None) -> None:
    """Let SIGTERM call `stop`, or end this process; one that came before counts."""
    if stop is not None:
        signal.signal(signal.SIGTERM, lambda *_: stop())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def tell(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Send a signal to a process, if it lives."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)


def kill(process: asyncio.subprocess.Process) -> None:
    """Ask a process to end, and end it where it does not."""
    tell(process, signal.SIGTERM)
    asyncio.get_running_loop().call_later(KILL_SECONDS, tell, process, signal.SIGKILL)
