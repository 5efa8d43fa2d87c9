"""What monitors raised that nobody foresaw: each costs that monitor what it looked at, is counted, and told."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import TypeVar

from firstfault.errors import told
from firstfault.monitor.database import StoreError

logger = logging.getLogger(__name__)
T = TypeVar("T")


class Failures:
    """How often each monitor raised, and what."""

    def __init__(self) -> None:
        self.raised: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def spared(self, name: str, work: Callable[[], T]) -> T | None:
        """What the work of a monitor gives; None where it raises.

        Raises:
            StoreError: when the database does not answer, which is no monitor's failure.
        """
        try:
            return work()
        except StoreError:
            raise
        except Exception as error:
            if not self.raised[name]:
                logger.exception("the monitor %s raised, and the others go on", name)
            self.raised[name][told(error)] += 1
            return None

    def sentences(self) -> list[str]:
        """A sentence for each monitor that raised."""
        return [
            f"the monitor {name} raised {errors.total()} times, and saw nothing then: {errors.most_common(1)[0][0]}"
            for name, errors in self.raised.items()
        ]
