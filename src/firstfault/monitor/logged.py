"""Requests from logs that others wrote: one row of a JSON lines, CSV or Parquet file per request."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from firstfault.errors import FirstfaultError
from firstfault.logs.trace_context import parse
from firstfault.monitor.database import GET_ON, Database
from firstfault.monitor.intake import Intake
from firstfault.monitor.record import ARMS, Captured, seconds_of
from firstfault.monitor.rows import Rows, is_rows
from firstfault.monitor.settings import Settings
from firstfault.monitor.snapshot import decoded, snapshot
from firstfault.texts import nearest

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

NAMES: Mapping[str, tuple[str, ...]] = {
    "request_id": (
        "request_id",
        "requestid",
        "id",
        "x-request-id",
        "http.request.id",
        "inference_id",
        "client_request_id",
    ),
    "trace": ("traceparent", "trace_id", "trace.id", "traceid"),
    "time": ("time", "timestamp", "@timestamp", "ts", "datetime", "date", "timestamp_ms", "request_time"),
    "seconds": ("seconds", "duration_s", "latency_s", "elapsed"),
    "milliseconds": ("milliseconds", "duration_ms", "latency_ms", "execution_time_ms", "execution_duration_ms"),
    "status": ("status", "status_code", "http.response.status_code", "code"),
    "path": ("path", "url.path", "route", "endpoint"),
    "model": ("model", "model_name", "model_id", "served_entity_id"),
    "version": ("version", "model_version"),
    "arm": ("arm", "variant"),
    "input": ("input", "inputs", "request", "features", "instance", "instances", "prompt", "request_body"),
    "output": ("output", "outputs", "response", "prediction", "predictions", "completion", "response_body"),
    "confidence": ("confidence",),
    "error": ("error", "error.stack_trace", "exception", "traceback"),
    "label": ("label", "truth", "ground_truth", "target"),
}
"""What a row may call each part of a request, the first that is there."""


def columns_of(pairs: list[str]) -> dict[str, str]:
    """`PART=COLUMN` as a mapping.

    Raises:
        FirstfaultError: when a part is none that a request has.
    """
    named = {}
    for pair in pairs:
        part, equals, column = pair.partition("=")
        if not equals or part not in NAMES or not column:
            raise FirstfaultError(
                f"--column must be PART=COLUMN with one of {', '.join(NAMES)}, but got {pair!r}{nearest(part, NAMES)}"
            )
        named[part] = column
    return named


class Reader:
    """Reads rows as requests.

    Args:
        settings: names of model, version and arm where a row has none.
        columns: the columns of parts, where they are not called as usual.
    """

    def __init__(self, settings: Settings, columns: Mapping[str, str], now: float) -> None:
        self.settings, self.columns, self.now = settings, dict(columns), now

    def read(self, row: dict[str, Any], number: int) -> Captured:
        """One row as a request; columns that are no part of one are its input, where none is called so.

        Raises:
            ValueError: when a part is not what it has to be.
        """
        lower = {str(name).lower(): name for name in row}
        parts = {part: self._named(part, lower) for part in NAMES}
        used = {column for column in parts.values() if column is not None}
        found = {part: row[column] for part, column in parts.items() if column is not None and row[column] is not None}
        raw = decoded(found["input"]) if "input" in found else {k: v for k, v in row.items() if k not in used}
        trace_id, span_id = _trace(found.get("trace"))
        request_id = str(found.get("request_id", "")) or span_id or f"row-{number}"
        captured = Captured(
            "logs",
            request_id,
            trace_id,
            span_id,
            self._time(found.get("time")),
            _seconds(found),
            _status(found),
            str(found.get("model", self.settings.model)),
            str(found.get("version", self.settings.version)),
            str(found.get("arm", self.settings.arm)),
            path=str(found.get("path", "")),
            error=str(found.get("error", "")),
            values={"raw": snapshot(raw)},
            label=found.get("label"),
        )
        if "output" in found:
            captured.values["label"] = snapshot(decoded(found["output"]))
        if "confidence" in found:
            captured.confidence = float(found["confidence"])
        if captured.arm not in ARMS:
            raise ValueError(f"the arm {captured.arm!r} is none")
        return captured

    def _named(self, part: str, lower: dict[str, str]) -> str | None:
        if part in self.columns:
            return lower.get(self.columns[part].lower())
        return next((lower[name] for name in NAMES[part] if name in lower), None)

    def _time(self, value: Any) -> float:
        if value is None:
            return self.now
        if isinstance(value, str) and not _is_number(value):
            value = datetime.fromisoformat(value.replace("Z", "+00:00"))
        if isinstance(value, datetime):
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
        return seconds_of(float(value))


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).lstrip("-").isdigit()


def _trace(value: Any) -> tuple[str, str]:
    """The ids of trace and span in a `traceparent`, or in the trace's id alone."""
    context = parse(value) if isinstance(value, str) else None
    return (context.trace_id, context.span_id) if context else (str(value or ""), "")


def _seconds(found: Mapping[str, Any]) -> float:
    if "seconds" in found:
        return float(found["seconds"])
    return float(found["milliseconds"]) / 1000 if "milliseconds" in found else 0.0


def _status(found: Mapping[str, Any]) -> int:
    value = found.get("status", 500 if found.get("error") else 200)
    if isinstance(value, str) and not value.isdigit():
        return 200 if value.lower() in ("ok", "success", "unset") else 500
    return int(value)


class Reading(NamedTuple):
    """How many files were read, how many had been read before, and what was in them."""

    files: int = 0
    before: int = 0
    requests: int = 0
    broken: int = 0

    def __str__(self) -> str:
        told = [f"{self.requests} requests in {self.files} files"]
        if self.broken:
            told.append(f"{self.broken} rows could not be read as requests")
        if self.before:
            told.append(f"{self.before} files had been read before")
        return "; ".join(told)


def read_logs(
    settings: Settings, path: str, columns: Mapping[str, str], *, again: bool = False, expected: bool = True
) -> Reading:
    """Record the requests of a file, of all files that a pattern names, or of those in a folder; each file once.

    Args:
        settings: where and how they are recorded.
        path: on any file system that fsspec knows.
        columns: the columns of a request's parts, where they are not called as usual.
        again: read what was read before, too.
        expected: whether it is a mistake when there is no file.

    Raises:
        FirstfaultError: when there is no such file, or one is not what its name says.
        StoreError: when nobody knows what was read before, since the database does not answer.
    """
    database = Database(settings)
    total = Reading()
    files, names = files_at(path, expected=expected)
    for name, key in names.items():
        if not again and database.rows("SELECT position FROM progress WHERE writer = :writer", writer=key):
            total = total._replace(before=total.before + 1)
            continue
        requests, broken = _read_rows(settings, Rows(name, files), columns)
        database.write([(GET_ON, [{"writer": key, "position": requests, "time": time.time()}])])
        total = total._replace(files=total.files + 1, requests=total.requests + requests, broken=total.broken + broken)
    return total


def _read_rows(settings: Settings, rows: Rows, columns: Mapping[str, str]) -> tuple[int, int]:
    reader, intake = Reader(settings, columns, time.time()), Intake(settings)
    broken = 0
    for number, row in enumerate(rows):
        try:
            intake.add(reader.read(row, number))
        except (ValueError, TypeError, OverflowError):
            broken += 1
    return intake.end(), broken + rows.broken


def files_at(path: str, *, expected: bool = True) -> tuple[AbstractFileSystem, dict[str, str]]:
    """The files that a path, a pattern or a folder names, each with what tells it from a later one of its name.

    Raises:
        FirstfaultError: when there is none, and one was expected.
    """
    import fsspec

    try:
        files, place = fsspec.core.url_to_fs(path)
        if files.isdir(place):
            found = [name for name in files.find(place) if is_rows(name)]
        else:
            found = files.glob(place) if any(sign in place for sign in "*?[") else [place] * files.exists(place)
        keys = [hashlib.blake2b(f"{name} {files.ukey(name)}".encode(), digest_size=12).hexdigest() for name in found]
    except (ImportError, ValueError, OSError) as error:
        raise FirstfaultError(f"{path} must be a path that fsspec can read here, but: {error}") from error
    if not found and expected:
        raise FirstfaultError(f"{path} must be a file, a pattern or a folder of logs, but there is none")
    return files, {name: f"file:{key}" for name, key in zip(found, keys, strict=True)}
