"""What adds the ids to the lines of Loguru and structlog: plain callables, so that neither has to be installed.

Loguru: `logger.configure(patcher=loguru_ids)`, and `logger.add(log.handler, format=loguru_format)` to have its lines in
the file of `setup()`. structlog: `structlog.configure(processors=[structlog_ids, …])`.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from firstfault.logs.context import ids


def loguru_ids(record: MutableMapping[str, Any]) -> None:
    """Add the ids of here and now to the `extra` of a record of Loguru; what it was given itself stays."""
    record["extra"] = {**ids(), **record["extra"]}


def structlog_ids(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add the ids of here and now to an event of structlog; what it was given itself stays."""
    for name, value in ids().items():
        event.setdefault(name, value)
    return event


def loguru_format(record: object) -> str:
    """The format of Loguru's lines for the handler of a log.

    Given as text, Loguru would add its own traceback to the message, with the values of variables.
    """
    return "{message}"
