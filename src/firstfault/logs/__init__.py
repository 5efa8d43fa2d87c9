"""Log lines of ML systems: JSON through standard logging, with the ids of trace, run and incident.

`setup()` begins it, `bound()` sets ids, `loguru_ids` and `structlog_ids` add them to other libraries' lines.
"""

from firstfault.logs.adapters import loguru_format, loguru_ids, structlog_ids
from firstfault.logs.context import bound, ids
from firstfault.logs.log import Log, setup

__all__ = ["Log", "bound", "ids", "loguru_format", "loguru_ids", "setup", "structlog_ids"]
