"""Where OpenTelemetry's own environment variables say that traces, metrics and logs are sent, and its exporters."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from firstfault.errors import FirstfaultError
from firstfault.extras import expect_installed
from firstfault.monitor.exporters.outbox import OTLP

if TYPE_CHECKING:
    from opentelemetry.sdk._logs import ReadableLogRecord
    from opentelemetry.sdk.metrics.export import MetricsData
    from opentelemetry.sdk.trace import ReadableSpan

TRACES, METRICS, LOGS = "traces", "metrics", "logs"
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
MODULE = "opentelemetry.exporter.otlp.proto.http"


def keys_of_receivers(environment: Mapping[str, str]) -> dict[str, str]:
    """What stands for the receiver of each signal that is to be sent, in the database: its URL may hold a secret.

    Raises:
        FirstfaultError: when none is named.
    """
    found = {}
    for signal in (TRACES, METRICS, LOGS):
        base = environment.get(ENDPOINT)
        endpoint = environment.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT") or (
            base and f"{base.rstrip('/')}/v1/{signal}"
        )
        if endpoint and environment.get(f"OTEL_{signal.upper()}_EXPORTER", "otlp") != "none":
            found[signal] = f"{OTLP}{hashlib.sha256(endpoint.encode()).hexdigest()[:16]}"
    if not found:
        raise FirstfaultError(
            f"{ENDPOINT} must name the receiver of what is sent, as http://127.0.0.1:4318, but it is not set"
        )
    return found


class Exporters:
    """OpenTelemetry's exporters, which retry for ten seconds (`OTEL_EXPORTER_OTLP_TIMEOUT`).

    Raises:
        MissingExtra: when they are not installed.
    """

    def __init__(self) -> None:
        expect_installed(MODULE, "what is sent over OTLP")
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        self._spans, self._metrics, self._logs = OTLPSpanExporter(), OTLPMetricExporter(), OTLPLogExporter()

    def spans(self, found: Sequence[ReadableSpan]) -> bool:
        """Send spans; whether they were taken."""
        with _quietly():
            return self._spans.export(found).name == "SUCCESS"

    def metrics(self, found: MetricsData) -> bool:
        """Send metrics; whether they were taken."""
        with _quietly():
            return self._metrics.export(found).name == "SUCCESS"

    def logs(self, found: Sequence[ReadableLogRecord]) -> bool:
        """Send log records; whether they were taken."""
        with _quietly():
            return self._logs.export(found).name == "SUCCESS"

    def close(self) -> None:
        """End what is being sent: it is sent again."""
        for exporter in (self._spans, self._metrics, self._logs):
            with _quietly():
                exporter.shutdown()


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the exporters' own words, which quote URLs; the sender says what was not taken."""
    logger = logging.getLogger(MODULE)
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
