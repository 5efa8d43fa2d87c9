"""The process that tells others what a store holds, until it is asked to end: metrics, OTLP, alerts that were left."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Callable

from firstfault.monitor.exporters import alerts
from firstfault.monitor.exporters.metrics_server import metrics_served
from firstfault.monitor.exporters.otlp_sender import OtlpSender
from firstfault.monitor.settings import Settings

logger = logging.getLogger(__name__)
EVERY_SECONDS = 10.0
"""Between two rounds of what is sent over OTLP, and of alerts that other processes left untold."""
ENDING_SECONDS = 12.0
"""How long a round that is being sent may still take when this process has to end."""


def run_outlet(
    settings: Settings, metrics: tuple[str, int] | None, ready: Callable[[int | None], None], *, otlp: bool
) -> None:
    """Serve `/metrics` at a host and port, send over OTLP, or both, until Ctrl-C or SIGTERM.

    Raises:
        FirstfaultError: when no receiver is named, or what it takes is not installed.
        OSError: when the port can't be had.
    """
    stop = threading.Event()
    with contextlib.ExitStack() as held:
        sender = OtlpSender(settings) if otlp else None
        port = held.enter_context(metrics_served(settings, *metrics)) if metrics else None
        rounds = threading.Thread(target=_rounds, args=(settings, sender, stop), name="firstfault-out", daemon=True)
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, lambda *_: stop.set())
        ready(port)
        rounds.start()
        stop.wait()
        rounds.join(ENDING_SECONDS)


def _rounds(settings: Settings, sender: OtlpSender | None, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            alerts.go_on(settings)
            if sender is not None:
                sender.send()
        except Exception:  # as of an archive that can't be read: the next round may be a better one
            logger.exception("what a store holds could not be told")
        stop.wait(EVERY_SECONDS)
    if sender is not None:
        sender.close()
