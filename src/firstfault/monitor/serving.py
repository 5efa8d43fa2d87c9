"""The proxy as a process: it listens until it is asked to end, and leaves when its writer has written all."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from firstfault.monitor.proxy import Upstream, serve
from firstfault.monitor.recorder import recorder_of
from firstfault.monitor.settings import Settings

CLOSING_SECONDS = 10.0


def run_proxy(settings: Settings, upstream: Upstream, host: str, port: int, ready: Callable[[int], None]) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Raises:
        OSError: when the port can't be had.
    """

    async def run() -> None:
        stop = asyncio.Event()
        for signum in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(signum, stop.set)
        await serve(recorder, upstream, host, port, ready, stop)

    recorder = recorder_of(settings)
    try:
        asyncio.run(run())
    finally:
        recorder.close(CLOSING_SECONDS)
