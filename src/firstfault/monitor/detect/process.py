"""Detection beside a writer: it looks every few seconds, where no other process of the machine does so already.

`python -m firstfault.monitor.detect.process`, with the settings on its input. It ends with the writer.
"""

from __future__ import annotations

import logging
import os
import sys
import time

import msgspec

from firstfault.monitor.database import StoreError
from firstfault.monitor.detect.locking import alone
from firstfault.monitor.settings import Settings
from firstfault.monitor.store import Store

logger = logging.getLogger(__name__)
NICE = 10
"""Serving comes first, then writing."""


def detect(settings: Settings) -> None:
    """Look for incidents until this process is ended."""
    store = Store(settings)
    while True:
        with alone(store) as we_are:
            if we_are:
                _detect(store, settings.detect)
        time.sleep(settings.detect)


def _detect(store: Store, every: float) -> None:
    """Look again and again, until the database does not answer, or a look fails: then what is known is read anew."""
    from firstfault.monitor.detect.running import Run
    from firstfault.monitor.detect.settings import Detection
    from firstfault.monitor.looking import look

    try:
        run = Run(store, Detection())
        while True:
            look(run)
            time.sleep(every)
    except StoreError as error:
        logger.warning("detection waits, since the database does not answer: %s", error)
    except Exception:
        logger.exception("a look for incidents failed, and is begun anew")


if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    os.nice(NICE)
    detect(msgspec.json.decode(sys.stdin.buffer.read(), type=Settings))
