"""One record of standard logging as one line of JSON, with the field names of the Elastic Common Schema.

Source: ECS logging (https://www.elastic.co/guide/en/ecs-logging/overview/current/intro.html) and the ECS field
reference, 8.11. Names with dots are written flat, as that allows; `expand_keys` of Filebeat nests them.
"""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from firstfault.logs.context import IDS, ids
from firstfault.logs.labels import labels_of, plain_value
from firstfault.logs.masking import MARGIN, Mask
from firstfault.texts import shown

ECS_VERSION = "8.11.0"
MOST_MESSAGE, MOST_TRACE, MOST_NAME = 8_192, 32_768, 256
"""How many letters of a message, of a traceback (its end) and of a name a line holds."""
OWN = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime", "taskName"}
"""The attributes that every record has; the others were given by `extra=`."""
ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
LINE_ENDS = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}
"""What some readers take for the end of a line, though JSON may hold it."""
HIDDEN = OWN | {"event", "event.action"}
ECS_ROOTS = {"client", "destination", "event", "host", "http", "network", "server", "transaction", "url", "user_agent"}
"""Fields of ECS that `extra=` may set by their dotted names, as in `extra={"http.response.status_code": 503}`."""


class Line:
    """Writes records as lines.

    Args:
        service: `service.name`, and the beginning of `event.dataset`.
        mask: for messages, labels and tracebacks.
        fixed: labels that each line has unless the context says otherwise, such as the `run_id` of a run's own log.
    """

    def __init__(self, service: str, mask: Mask, fixed: Mapping[str, str] | None = None) -> None:
        self.service, self.mask, self.fixed = service, mask, {} if fixed is None else fixed

    def of(self, record: logging.LogRecord, more: Mapping[str, Any] | None = None) -> bytes:
        """The line of a record, without its end; `more` are further labels."""
        given = _given(record)
        here = {**self.fixed, **ids(), **{name: str(given.pop(name))[:MOST_NAME] for name in IDS if given.get(name)}}
        top = {name: plain_value(name, given.pop(name), self.mask) for name in [*given] if _is_ecs(name)}
        named = {name: value for name, value in here.items() if "." not in name}
        line: dict[str, Any] = {
            "@timestamp": _time(record.created),
            "log.level": record.levelname[:MOST_NAME].lower(),
            "message": self._message(record),
            "ecs.version": ECS_VERSION,
            "log.logger": record.name[:MOST_NAME],
            "service.name": self.service,
            "event.dataset": f"{self.service}.{here.get('stage', 'log')}",
            **({"event.action": event[:MOST_NAME]} if (event := named_event(record)) else {}),
            **{name: here[name] for name in ("trace.id", "span.id") if name in here},
            "process.pid": record.process,
            "process.thread.name": record.threadName,
            "log.origin.file.name": record.filename,
            "log.origin.file.line": record.lineno,
            "log.origin.function": record.funcName,
            **top,
            **self._error(record),
        }
        if labels := {**labels_of(given, self.mask), **named, **(more or {})}:
            line["labels"] = labels
        return ENCODER.encode(line).translate(LINE_ENDS).encode("utf-8", "backslashreplace")

    def _message(self, record: logging.LogRecord) -> str:
        try:
            text = record.getMessage()
        except Exception as error:
            text = f"{shown(record.msg, str)} (its arguments don't fit it: {type(error).__name__})"
        return self.mask.text(text, MOST_MESSAGE)

    def _error(self, record: logging.LogRecord) -> dict[str, str]:
        """What was raised, with the end of its traceback: the last frames tell most."""
        raised = record.exc_info
        error = raised[1] if isinstance(raised, tuple) else None
        if error is None:
            text = record.exc_text or record.stack_info
            return {"error.stack_trace": self._trace(str(text))} if text and text.strip() else {}
        return {
            "error.type": type(error).__qualname__[:MOST_NAME],
            "error.message": self.mask.text(shown(error, str), MOST_MESSAGE),
            "error.stack_trace": self._trace("".join(traceback.format_exception(error))),
        }

    def _trace(self, text: str) -> str:
        begin = len(text) - MOST_TRACE - MARGIN
        if begin <= 0:
            return self.mask.text(text, MOST_TRACE + MARGIN)
        masked = self.mask.text(text[begin:], MOST_TRACE + MARGIN)
        return f"… ({begin + MARGIN} letters before)\n{masked[MARGIN:]}"  # a piece may be cut in two at its beginning


def named_event(record: logging.LogRecord) -> str | None:
    """The event that `extra={"event": …}` names."""
    event = record.__dict__.get("event", record.__dict__.get("event.action"))
    return event if isinstance(event, str) and event else None


def _given(record: logging.LogRecord) -> dict[str, Any]:
    """What `extra=` gave, with the `extra` of Loguru's records as if each had been given itself."""
    given = {name: value for name, value in record.__dict__.items() if name not in HIDDEN and not name.startswith("_")}
    inner = given.pop("extra", None)
    if isinstance(inner, Mapping):
        return {**given, **{str(name): value for name, value in inner.items()}}
    return given if inner is None else {**given, "extra": inner}


def _is_ecs(name: str) -> bool:
    return "." in name and name.partition(".")[0] in ECS_ROOTS


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
