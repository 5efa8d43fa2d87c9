"""Proxy and receiver as processes: they listen until they are asked to end, and leave when all is written."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
from collections.abc import Awaitable, Callable
from functools import partial

from firstfault.monitor.proxy import serve
from firstfault.monitor.receiver import listen
from firstfault.monitor.recorder import recorder_of
from firstfault.monitor.settings import Settings
from firstfault.monitor.upstream import Upstream

CLOSING_SECONDS = 10.0
Ready = Callable[[int], None]


def run_proxy(settings: Settings, upstream: Upstream, host: str, port: int, ready: Ready) -> None:
    """Pass requests on, and record them, until Ctrl-C or SIGTERM.

    Raises:
        OSError: when the port can't be had.
    """
    open_all_files()
    _run(settings, partial(serve, recorder_of(settings), upstream, host, port, ready))


def open_all_files() -> None:
    """Let this process have as many files as it may: a client takes two, of the 1,024 that are usual to begin with."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # of systems that name a larger number than they allow
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def run_receiver(settings: Settings, host: str, port: int, ready: Ready) -> None:
    """Receive spans and events, and record the requests that they tell of, until Ctrl-C or SIGTERM.

    Raises:
        OSError: when the port can't be had.
    """
    _run(settings, partial(listen, recorder_of(settings), host, port, ready))


def _run(settings: Settings, work: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    async def run() -> None:
        stop = asyncio.Event()
        for signum in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(signum, stop.set)
        await work(stop)

    try:
        asyncio.run(run())
    finally:
        recorder_of(settings).close(CLOSING_SECONDS)
