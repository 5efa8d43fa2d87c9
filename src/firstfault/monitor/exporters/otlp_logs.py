"""Incidents as log records of OpenTelemetry: one when an incident was opened, one when it was closed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firstfault.monitor.exporters.incident_figures import CLOSED
from firstfault.monitor.exporters.receivers import sentence, summary
from firstfault.monitor.incidents import Incident

if TYPE_CHECKING:
    from opentelemetry.sdk._logs import ReadableLogRecord

NANO = 1_000_000_000


def log_record(incident: Incident, word: str) -> ReadableLogRecord:
    """What is told of an incident."""
    from opentelemetry._logs import LogRecord, SeverityNumber
    from opentelemetry.sdk._logs import ReadableLogRecord
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    over = word == CLOSED
    time = round((incident.closed if over and incident.closed is not None else incident.opened) * NANO)
    found = {f"firstfault.incident.{name}": value for name, value in summary(incident).items() if name != "message"}
    record = LogRecord(
        timestamp=time,
        observed_timestamp=time,
        severity_number=SeverityNumber.INFO if over else SeverityNumber.ERROR,
        severity_text="INFO" if over else "ERROR",
        body=sentence(incident, word),
        attributes={name: value for name, value in found.items() if value is not None},
        event_name=f"firstfault.incident.{word}",
    )
    resource = Resource.create({"service.name": incident.model})
    return ReadableLogRecord(record, resource, InstrumentationScope("firstfault.monitor"))
