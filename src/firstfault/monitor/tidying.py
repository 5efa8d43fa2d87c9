"""What is done when an hour is over, by a process that a writer starts: Parquet of what is past, and what is too old.

`python -m firstfault.monitor.tidying`, with the settings on its input.
"""

from __future__ import annotations

import sys
import time

import msgspec

from firstfault.monitor.hours import close_hours
from firstfault.monitor.retention import prune
from firstfault.monitor.settings import Settings

if __name__ == "__main__":
    settings = msgspec.json.decode(sys.stdin.buffer.read(), type=Settings)
    close_hours(settings, time.time())
    prune(settings, time.time())
